//! A receiver of webhooks that is not always well: it checks every signature, and sometimes refuses,
//! forgets to answer, or takes an event and says that it has not.
//!
//! What it has taken goes to the [`Book`] as it came, repetitions included.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::http;
use super::ledger::Book;
use crate::traffic::Dice;

/// Longer than the server waits for an answer, with what the script sets.
const FORGETFULNESS: Duration = Duration::from_secs(4);

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Taken, and said so.
    Well,
    /// Refused, not taken.
    Refuses,
    /// Taken, but the answer is an error: it will come again.
    Errs,
    /// Taken, but never answered: it will come again.
    Forgets,
    /// Neither taken nor answered.
    HangsUp,
}

impl Mood {
    /// One delivery in nine goes wrong.
    fn of(dice: &mut Dice) -> Self {
        match dice.share() {
            share if share < 0.04 => Self::Refuses,
            share if share < 0.08 => Self::Errs,
            share if share < 0.09 => Self::Forgets,
            share if share < 0.11 => Self::HangsUp,
            _ => Self::Well,
        }
    }
}

/// Who may sign, and where what was taken is kept.
pub(super) struct Receiver {
    key: String,
    secret: DecodingKey,
    dice: Mutex<Dice>,
    /// What was taken.
    pub(super) book: Mutex<Book>,
}

impl Receiver {
    /// Listens on a port of this host.
    pub(super) async fn start(port: u16, key: &str, secret: &str) -> Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = listener.with_context(|| format!("listening for webhooks on {port}"))?;
        let receiver = Arc::new(Self {
            key: key.to_owned(),
            secret: DecodingKey::from_secret(secret.as_bytes()),
            dice: Mutex::new(Dice::new(9)),
            book: Mutex::default(),
        });
        let waiter = Arc::clone(&receiver);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = Arc::clone(&waiter);
                tokio::spawn(async move {
                    if let Err(error) = receiver.serve(stream).await {
                        receiver.book().fault(format!("a delivery: {error:#}"));
                    }
                });
            }
        });
        Ok(receiver)
    }

    /// What was taken.
    pub(super) fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("no holder panics")
    }

    async fn serve(&self, stream: TcpStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        // A server that goes away between two requests is none of our business.
        while let Ok(Some(request)) = http::read(&mut stream).await {
            let mood = Mood::of(&mut self.dice.lock().expect("no holder panics"));
            if mood == Mood::HangsUp {
                return Ok(());
            }
            let event = self.verify(&request)?;
            if mood != Mood::Refuses {
                self.book().take(&event);
            }
            if mood == Mood::Forgets {
                tokio::time::sleep(FORGETFULNESS).await;
                return Ok(());
            }
            let answer = match mood {
                Mood::Well => "200 OK",
                _ => "500 Internal Server Error",
            };
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
            if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Checks the signature as LiveKit's receivers do, and gives the event.
    fn verify(&self, request: &http::Request) -> Result<Value> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.validate_nbf = true;
        rules.set_issuer(&[&self.key]);
        let token = jsonwebtoken::decode::<Value>(&request.authorization, &self.secret, &rules);
        let claims = token
            .context("an event whose signature is not good")?
            .claims;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &request.body);
        let is_its = claims["sha256"] == STANDARD.encode(digest);
        ensure!(is_its, "an event with the signature of another");
        serde_json::from_slice(&request.body).context("an event that is no JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_is_taken_with_its_own_signature_only() {
        let receiver = Receiver::start(0, "k", "s").await.expect("a free port");
        let sign = |issuer: &str, secret: &[u8], body: &[u8]| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
            let claims = serde_json::json!({
                "iss": issuer, "exp": 4_000_000_000_u64, "sha256": STANDARD.encode(digest),
            });
            let key = jsonwebtoken::EncodingKey::from_secret(secret);
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("signed")
        };
        let verify = |authorization: String| {
            let body = b"{\"event\":\"x\"}".to_vec();
            receiver.verify(&http::Request {
                authorization,
                body,
            })
        };
        let body = b"{\"event\":\"x\"}";
        assert_eq!(verify(sign("k", b"s", body)).expect("good")["event"], "x");
        for wrong in [
            sign("other", b"s", body),
            sign("k", b"other", body),
            sign("k", b"s", b"{}"),
            String::new(),
        ] {
            assert!(verify(wrong).is_err());
        }
    }

    #[test]
    fn every_mood_comes() {
        let mut dice = Dice::new(1);
        let moods: Vec<Mood> = (0..1_000).map(|_| Mood::of(&mut dice)).collect();
        for mood in [
            Mood::Well,
            Mood::Refuses,
            Mood::Errs,
            Mood::Forgets,
            Mood::HangsUp,
        ] {
            assert!(moods.contains(&mood), "{mood:?}");
        }
    }
}
