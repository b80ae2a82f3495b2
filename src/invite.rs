//! Tokens and links for people: what a role grants, and how a link carries it.
//!
//! The token stands in the fragment of the link, which browsers do not send, so that it reaches
//! neither access logs nor the pages that the person came from.

use std::time::Duration;

use anyhow::{Context, bail};
use signaling::config::{Limits, Secret};
use signaling::token::{Consilium, Grants, Keyring, VideoGrant};

use crate::cli::{self, Role, Token};
use crate::config::Config;

/// The room of the links that `serve --dev` prints.
const DEV_ROOM: &str = "first-consult";
/// A day of trying things out.
const DEV_TTL: Duration = Duration::from_secs(24 * 3600);

/// `consilium token`.
pub(crate) fn run(task: &Token) -> anyhow::Result<()> {
    let token = mint(task)?;
    cli::say(&match &task.link {
        Some(page) if task.room.is_none() => archive_link(page, &token),
        Some(page) => link(page, &token),
        None => token,
    });
    Ok(())
}

/// The link by which the officer of `serve --dev` opens the recordings.
pub(crate) fn dev_archive_link(config: &Config, page: &str) -> anyhow::Result<String> {
    let keyring = Keyring::new(&config.keys, &config.limits);
    let grants = officer("officer", "Officer Chen 陈合规");
    let token = keyring.mint(signaling::config::DEV_KEY, &grants, DEV_TTL)?;
    Ok(archive_link(page, &token))
}

/// The two people of a first consult with a link for each.
pub(crate) fn dev_links(
    config: &Config,
    page: &str,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let keyring = Keyring::new(&config.keys, &config.limits);
    let people = [
        (
            "Specialist",
            Role::Specialist,
            "specialist",
            "Dr. Wang 王医生",
        ),
        (
            "Clinic doctor",
            Role::Presenter,
            "clinic-doctor",
            "Dr. Li 李医生",
        ),
    ];
    people
        .into_iter()
        .map(|(title, role, identity, name)| {
            let grants = grants(role, DEV_ROOM, identity, name);
            let token = keyring.mint(signaling::config::DEV_KEY, &grants, DEV_TTL)?;
            Ok((title, link(page, &token)))
        })
        .collect()
}

fn mint(task: &Token) -> anyhow::Result<String> {
    let (key, secret) = signing_key(task)?;
    let name = task.name.as_deref().unwrap_or(&task.identity);
    let mut grants = match &task.room {
        Some(room) => grants(task.role, room, &task.identity, name),
        None if task.role == Role::Compliance => officer(&task.identity, name),
        None => bail!("--room is missing: only --role compliance goes without one"),
    };
    if let Some(more) = &task.grants {
        grants.video = overlay(&grants.video, more)?;
    }
    let keyring = Keyring::new([(&key, &secret)], &Limits::default());
    let token = keyring.mint(&key, &grants, task.ttl)?;
    keyring
        .verify(&token)
        .context("no server would take this token")?;
    Ok(token)
}

fn signing_key(task: &Token) -> anyhow::Result<(String, Secret)> {
    if let (Some(key), Some(secret)) = (&task.key, &task.secret) {
        return Ok((key.clone(), Secret::new(secret.clone())));
    }
    let keys = Config::load(&task.config)?.keys;
    let found = match &task.key {
        Some(key) => keys.get_key_value(key),
        None if keys.len() > 1 => bail!("several keys are configured: choose one with --key"),
        None => keys.first_key_value(),
    };
    let (key, secret) = found.context("that key is not configured")?;
    Ok((key.clone(), secret.clone()))
}

/// What opens the archive, and no room.
fn officer(identity: &str, name: &str) -> Grants {
    Grants {
        identity: identity.to_owned(),
        name: name.to_owned(),
        consilium: Consilium {
            role: role_name(Role::Compliance).to_owned(),
        },
        ..Grants::default()
    }
}

/// What a role grants in a room.
fn grants(role: Role, room: &str, identity: &str, name: &str) -> Grants {
    let video = VideoGrant {
        room: room.to_owned(),
        room_join: Some(true),
        ..VideoGrant::default()
    };
    let video = match role {
        Role::Specialist | Role::Presenter => video,
        Role::Patient => VideoGrant {
            can_publish_sources: vec!["camera".to_owned(), "microphone".to_owned()],
            ..video
        },
        Role::Observer => silent(video),
        Role::Compliance => VideoGrant {
            hidden: Some(true),
            ..silent(video)
        },
    };
    Grants {
        identity: identity.to_owned(),
        name: name.to_owned(),
        attributes: [("role".to_owned(), role_name(role).to_owned())].into(),
        video,
        ..Grants::default()
    }
}

fn silent(video: VideoGrant) -> VideoGrant {
    VideoGrant {
        can_publish: Some(false),
        can_publish_data: Some(false),
        ..video
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Specialist => "specialist",
        Role::Presenter => "presenter",
        Role::Patient => "patient",
        Role::Observer => "observer",
        Role::Compliance => "compliance",
    }
}

fn overlay(grant: &VideoGrant, more: &str) -> anyhow::Result<VideoGrant> {
    let mut merged = serde_json::to_value(grant)?;
    let more: serde_json::Map<_, _> =
        serde_json::from_str(more).context("--grants is no JSON object")?;
    let known = merged.as_object_mut().expect("a grant is an object");
    known.extend(more);
    serde_json::from_value(merged).context("--grants does not fit")
}

fn link(page: &str, token: &str) -> String {
    format!("{}/#token={token}", page.trim_end_matches('/'))
}

fn archive_link(page: &str, token: &str) -> String {
    format!("{}/compliance/#token={token}", page.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn made(args: &[&str]) -> anyhow::Result<Grants> {
        let all = [
            "consilium",
            "token",
            "--dev",
            "--room",
            "r",
            "--identity",
            "i",
        ];
        let cli = cli::Cli::parse_from(all.iter().chain(args));
        let cli::Task::Token(task) = cli.task else {
            unreachable!("the arguments ask for a token")
        };
        let (key, secret) = signing_key(&task)?;
        let keyring = Keyring::new([(&key, &secret)], &Limits::default());
        Ok(keyring.verify(&mint(&task)?)?.grants)
    }

    #[test]
    fn an_observer_can_neither_speak_nor_write() {
        let video = made(&["--role", "observer"]).expect("made").video;
        assert!(!video.may_publish() && !video.may_publish_data() && video.may_subscribe());
        assert!(!video.is_hidden());
        assert!(
            made(&["--role", "compliance"])
                .expect("made")
                .video
                .is_hidden()
        );
    }

    #[test]
    fn a_patient_shares_no_screen() {
        let video = made(&["--role", "patient"]).expect("made").video;
        assert!(video.may_publish_source("camera") && !video.may_publish_source("screen_share"));
    }

    #[test]
    fn further_grants_are_laid_over_the_role() {
        let grants =
            made(&["--grants", r#"{"canPublish": false, "roomAdmin": true}"#]).expect("made");
        assert!(!grants.video.may_publish());
        assert_eq!(grants.video.room_admin, Some(true));
        assert_eq!(grants.attributes["role"], "specialist");
        assert!(made(&["--grants", "[1]"]).is_err());
        assert!(made(&["--grants", r#"{"roomJoin": "yes"}"#]).is_err());
    }

    #[test]
    fn an_officer_opens_the_archive_and_no_room() {
        let all = ["consilium", "token", "--dev", "--identity", "chen"];
        let minted = |more: &[&str]| {
            let cli = cli::Cli::try_parse_from(all.iter().chain(more))?;
            let cli::Task::Token(task) = cli.task else {
                unreachable!("the arguments ask for a token")
            };
            let (key, secret) = signing_key(&task)?;
            let keyring = Keyring::new([(&key, &secret)], &Limits::default());
            anyhow::Ok(keyring.verify(&mint(&task)?)?.grants)
        };
        let grants = minted(&["--role", "compliance"]).expect("made");
        assert_eq!(grants.consilium.role, "compliance");
        assert!(grants.room_to_join(None).is_err());
        assert!(minted(&["--role", "specialist"]).is_err());
        assert!(minted(&[]).is_err());
        let watching = made(&["--role", "compliance"]).expect("made");
        assert_eq!(
            watching.consilium.role, "",
            "who watches a room opens no archive"
        );
    }

    #[test]
    fn the_token_stands_in_the_fragment() {
        assert_eq!(
            link("http://127.0.0.1:7880/", "abc"),
            "http://127.0.0.1:7880/#token=abc"
        );
    }
}
