//! Calls of the server API to somebody in the room, and every way in which they end.

use super::*;
use crate::room::calls::{CALLER, CallAnswer, CallId, CallRefusal};
use crate::wire::proto::data_packet::Value;
use crate::wire::proto::{
    DataPacket, PerformRpcRequest, RpcAck, RpcError, RpcRequest, RpcResponse, rpc_response,
};

const CALL: CallId = CallId(7);

fn asked() -> PerformRpcRequest {
    PerformRpcRequest {
        room: "mdt".to_owned(),
        destination_identity: "wang".to_owned(),
        method: "lookAt".to_owned(),
        payload: "slide 3".to_owned(),
        response_timeout_ms: 10_000,
    }
}

impl Scene {
    fn call(&mut self, asked: PerformRpcRequest) {
        self.room.call(self.now, CALL, asked);
        self.collect();
    }

    /// The one answer that has come up.
    fn call_answer(&mut self) -> Option<CallAnswer> {
        let mut answers = self.room.take_call_answers();
        assert!(answers.len() <= 1, "{answers:?}");
        let (id, answer) = answers.pop()?;
        assert_eq!(id, CALL);
        Some(answer)
    }

    /// Two who are connected, the first of whom is called; the call as it reaches him.
    fn called(&mut self) -> ([Client; 2], RpcRequest) {
        let people = ["wang", "li"].map(|identity| self.join(identity));
        for one in &people {
            self.connect(one);
        }
        self.commands.clear();
        self.call(asked());
        let sent = self.commanded(sent);
        let [packet] = &sent[..] else {
            panic!("one message, to one: {sent:?}");
        };
        assert_eq!(packet.participant_identity, CALLER);
        assert_eq!(packet.destination_identities, ["wang"]);
        let Some(Value::RpcRequest(request)) = &packet.value else {
            panic!("{packet:?}");
        };
        (people, request.clone())
    }

    /// Somebody says something to the server.
    fn tells(&mut self, client: &Client, value: Value) {
        let packet = DataPacket {
            destination_identities: vec![CALLER.to_owned()],
            value: Some(value),
            ..DataPacket::default()
        };
        let transport = self.transport(client);
        self.event(data(transport, &packet.encode_to_vec()));
    }
}

fn sent(command: &Command) -> Option<DataPacket> {
    match command {
        Command::SendData { payload, .. } => {
            Some(DataPacket::decode(&payload[..]).expect("we write packets"))
        }
        _ => None,
    }
}

fn acknowledged(request: &RpcRequest) -> Value {
    let request_id = request.id.clone();
    Value::RpcAck(RpcAck { request_id })
}

fn answered(request: &RpcRequest, value: rpc_response::Value) -> Value {
    Value::RpcResponse(RpcResponse {
        request_id: request.id.clone(),
        value: Some(value),
    })
}

fn fine() -> rpc_response::Value {
    rpc_response::Value::Payload("seen".to_owned())
}

#[test]
fn a_participant_is_called_and_answers() {
    let mut scene = Scene::new();
    let ([wang, _li], request) = scene.called();
    let said = (&*request.method, &*request.payload, request.version);
    assert_eq!(said, ("lookAt", "slide 3", 1));
    assert_eq!(request.response_timeout_ms, 10_000);
    scene.tells(&wang, acknowledged(&request));
    assert_eq!(scene.call_answer(), None);
    scene.tells(&wang, answered(&request, fine()));
    assert_eq!(scene.call_answer(), Some(Ok("seen".to_owned())));
    // Once is enough, and nobody else hears of it.
    scene.tells(&wang, answered(&request, fine()));
    assert_eq!(scene.call_answer(), None);
    assert!(scene.commanded(sent).is_empty());
}

#[test]
fn what_goes_wrong_there_is_told() {
    let mut scene = Scene::new();
    let ([wang, _li], request) = scene.called();
    let error = RpcError {
        code: 1400,
        message: "Method not supported at destination".to_owned(),
        ..RpcError::default()
    };
    scene.tells(&wang, answered(&request, rpc_response::Value::Error(error)));
    let refusal = scene
        .call_answer()
        .expect("an answer")
        .expect_err("it failed");
    let message = "Method not supported at destination".to_owned();
    assert_eq!(
        refusal,
        CallRefusal::Failed {
            code: 1400,
            message
        }
    );
}

#[test]
fn nobody_answers_for_another() {
    let mut scene = Scene::new();
    let ([_wang, li], request) = scene.called();
    scene.tells(&li, acknowledged(&request));
    scene.tells(&li, answered(&request, fine()));
    assert_eq!(scene.call_answer(), None);
    scene.wait(Duration::from_secs(8));
    assert_eq!(scene.call_answer(), Some(Err(CallRefusal::NotHeard)));
}

#[test]
fn a_call_is_not_waited_for_without_end() {
    let mut scene = Scene::new();
    let ([wang, _li], request) = scene.called();
    scene.tells(&wang, acknowledged(&request));
    scene.wait(Duration::from_secs(9));
    assert_eq!(scene.call_answer(), None);
    scene.wait(Duration::from_secs(2));
    assert_eq!(scene.call_answer(), Some(Err(CallRefusal::TooLate)));
    // What comes then is nobody's.
    scene.tells(&wang, answered(&request, fine()));
    assert_eq!(scene.call_answer(), None);
}

#[test]
fn a_call_ends_with_whom_it_is_for() {
    let mut scene = Scene::new();
    let ([wang, _li], _) = scene.called();
    let gone = Removal::gone(DisconnectReason::ClientInitiated);
    scene.room.remove(scene.now, wang.key, gone);
    assert_eq!(scene.call_answer(), Some(Err(CallRefusal::Left)));
}

#[test]
fn a_call_that_makes_no_sense_reaches_nobody() {
    let mut scene = Scene::new();
    let wang = scene.join("wang");
    scene.connect(&wang);
    scene.commands.clear();
    let cases = [
        (
            PerformRpcRequest {
                destination_identity: "zhou".to_owned(),
                ..asked()
            },
            CallRefusal::NoParticipant,
        ),
        (
            PerformRpcRequest {
                method: String::new(),
                ..asked()
            },
            CallRefusal::NoMethod,
        ),
        (
            PerformRpcRequest {
                method: "m".repeat(65),
                ..asked()
            },
            CallRefusal::TooLarge("64 bytes of a method's name"),
        ),
        (
            PerformRpcRequest {
                payload: "p".repeat((15 << 10) + 1),
                ..asked()
            },
            CallRefusal::TooLarge("15 KB of a call"),
        ),
    ];
    for (asked, refusal) in cases {
        scene.call(asked);
        assert_eq!(scene.call_answer(), Some(Err(refusal)));
    }
    for _ in 0..100 {
        scene.call(asked());
    }
    assert_eq!(scene.room.take_call_answers(), []);
    scene.call(asked());
    assert_eq!(scene.call_answer(), Some(Err(CallRefusal::Busy)));
    assert_eq!(scene.commanded(sent).len(), 100);
}

#[test]
fn nobody_takes_the_name_of_the_server() {
    let mut scene = Scene::new();
    assert!(scene.join_with(CALLER, VideoGrant::default()).is_err());
}
