//! Actions on a simulated server over HTTP, each verified from outside, and the order of audit and action.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monitor_acting::actuate::{Actuators, Hook, Reach, Secret};
use monitor_acting::audit::{Audit, Record, read, tell, verify};
use monitor_acting::guard::{Limits, MemoryLeases, Mode};
use monitor_acting::shell::{AuditedActor, carry_out, lock};
use monitor_acting::strategy::Strategies;
use monitor_acting::{
    AbortOrder, Action, Actor, ActorConfig, Evidence, EvidenceKind, Failure, Memory, Order, Situation,
    Target, Time,
};
use vllm_sim::{ControlToken, SimConfig, Simulator};

const TOKEN: &str = "a-token-of-the-test";

fn simulator(dev_mode: bool) -> Simulator {
    Simulator::start(SimConfig {
        dev_mode,
        control_token: Some(ControlToken::new(TOKEN)),
        ..SimConfig::default()
    })
    .expect("it starts")
}

fn actuators(reach: Reach) -> Actuators {
    Actuators::new(BTreeMap::from([("t".into(), reach)])).expect("a client")
}

fn reach(simulator: &Simulator) -> Reach {
    Reach {
        token: Some(Secret::new(TOKEN)),
        ..Reach::new(simulator.url())
    }
}

fn lever(value: f64) -> Action {
    Action::SetLever {
        lever: "max_num_queued_reqs".into(),
        value,
        ttl_secs: 30.0,
    }
}

#[tokio::test]
async fn levers_and_routes_are_set_checked_and_reset() {
    let simulator = simulator(true);
    let actuators = actuators(reach(&simulator));
    let found = actuators.find("t").await;
    for capability in [
        "lever.max_num_queued_reqs",
        "lever.max_num_active_reqs",
        "lever.watermark_blocks",
        "lever.drain",
        "lever.abort_longest",
        "route.pause",
    ] {
        assert!(found.capabilities.contains(capability), "{capability}: {found:?}");
    }
    assert!(!found.capabilities.contains("process.restart"));
    let reset = Action::ResetLever {
        lever: "max_num_queued_reqs".into(),
    };
    let abort = Action::Abort {
        which: AbortOrder::Newest,
        count: 1,
    };
    let route = |path: &'static str| Action::Route { path: path.into() };
    let actions = [
        lever(7.0),
        reset,
        abort,
        route("/pause?mode=keep"),
        route("/resume"),
        route("/reset_prefix_cache"),
    ];
    actuators
        .carry_out("t", "test", &actions, 1)
        .await
        .expect("all of them work");
    let error = actuators
        .carry_out("t", "test", &[route("/no_such_route")], 1)
        .await
        .expect_err("there is none");
    assert!(error.contains("404"), "{error}");
    simulator.stop();
}

#[tokio::test]
async fn what_a_server_lacks_is_said_with_the_reason() {
    let simulator = simulator(false);
    let closed = actuators(Reach::new(simulator.url()));
    let found = closed.find("t").await;
    assert!(found.capabilities.is_empty(), "{found:?}");
    assert!(found.reasons["lever.drain"].contains("401"), "{found:?}");
    assert!(
        found.reasons["route.pause"].contains("development routes"),
        "{found:?}"
    );
    let error = closed
        .carry_out("t", "test", &[lever(1.0)], 1)
        .await
        .expect_err("no token");
    assert!(error.contains("401"), "{error}");
    simulator.stop();
    let gone = actuators(Reach::new("http://127.0.0.1:1"));
    let error = gone
        .carry_out("t", "test", &[lever(1.0)], 1)
        .await
        .expect_err("nothing is there");
    assert!(error.contains("cannot connect"), "{error}");
}

#[tokio::test]
async fn an_older_fence_is_refused() {
    let simulator = simulator(false);
    let actuators = actuators(reach(&simulator));
    actuators
        .carry_out("t", "test", &[lever(5.0)], 7)
        .await
        .expect("the newest");
    let error = actuators
        .carry_out("t", "test", &[lever(1.0)], 6)
        .await
        .expect_err("its lease was lost");
    assert!(error.contains("lease"), "{error}");
    simulator.stop();
}

#[tokio::test]
async fn hooks_and_restarts_are_called() {
    let restarted = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&restarted);
    let mut reach = Reach::new("http://127.0.0.1:1");
    reach.restart = Some(Arc::new(move |arguments: BTreeMap<String, String>| {
        counter.fetch_add(1 + arguments.len() as u64, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }));
    reach.hooks.insert(
        "scale".into(),
        Hook::Command {
            program: "sh".into(),
            arguments: vec![
                "-c".into(),
                r#"read line; case "$line" in *'"change":"+1"'*) echo '{"ok":true}';; *) echo '{"ok":false,"error":"no"}';; esac"#.into(),
            ],
            limit: Duration::from_secs(20),
        },
    );
    let actuators = actuators(reach);
    let hook = |change: &'static str| Action::Hook {
        hook: "scale".into(),
        change: change.into(),
    };
    let restart = Action::Restart {
        arguments: [("--max-num-seqs".to_owned(), "64".to_owned())].into(),
    };
    actuators
        .carry_out("t", "test", &[hook("+1"), restart], 1)
        .await
        .expect("both work");
    assert_eq!(restarted.load(Ordering::SeqCst), 2);
    let error = actuators
        .carry_out("t", "test", &[hook("+2")], 1)
        .await
        .expect_err("refused");
    assert!(error.contains("it refused: no"), "{error}");
}

fn situation(secs: f64) -> Situation {
    Situation {
        target: "t".into(),
        at: Time::from_secs_f64(secs),
        observed: true,
        failures: vec![Failure {
            kind: "process_exit".into(),
            present: true,
            probability: 1.0,
            secs_to_failure: Some(0.0),
            evidence: vec![Evidence::new(
                EvidenceKind::ProcessExit,
                "it ended with code 0, not asked to",
            )],
        }],
        signals: [("serving".into(), 0.0), ("goodput_tokens_per_sec".into(), 0.0)].into(),
        restarted: false,
        vetoes: std::collections::BTreeMap::new(),
    }
}

#[tokio::test]
async fn the_intent_is_on_the_disk_before_the_action() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
    let (look, at) = (Arc::clone(&seen), path.clone());
    let mut reach = Reach::new("http://127.0.0.1:1");
    reach.restart = Some(Arc::new(move |_| {
        let records = read(&at).expect("it is there");
        look.lock()
            .expect("no panic")
            .push(matches!(records.last(), Some((_, Record::Intent(_)))));
        Box::pin(async { Ok(()) })
    }));
    let actuators = actuators(reach);
    let limits = Limits {
        mode: Mode::Act,
        allow: ["restart".into()].into(),
        ..Limits::default()
    };
    let config = ActorConfig {
        limits,
        ..ActorConfig::default()
    };
    let target = Target::new("t", "cpu").with(["process.restart"]);
    let actor = Actor::new(
        config,
        Strategies::default(),
        Memory::default(),
        [target],
        Time::default(),
    );
    let audit = Audit::open(&path, Time::default()).expect("opened");
    let audited = Mutex::new(AuditedActor {
        actor,
        audit: Some(audit),
    });
    for second in 0..400 {
        let mut situation = situation(1000.0 + f64::from(second));
        if second > 20 {
            situation.failures.clear();
            situation.signals.insert("serving".into(), 1.0);
            situation.signals.insert("goodput_tokens_per_sec".into(), 500.0);
        }
        let orders = lock(&audited)
            .actor
            .step(&situation, &mut MemoryLeases::default());
        let now = situation.at;
        let done = carry_out(orders, &audited, &actuators, || now).await;
        assert!(done.problems.is_empty(), "{:?}", done.problems);
        assert!(
            done.orders
                .iter()
                .all(|order| !matches!(order, Order::Suggest(_)))
        );
    }
    assert_eq!(*seen.lock().expect("no panic"), [true]);
    drop(audited);
    assert!(verify(&path).expect("read").is_intact());
    let told = tell(&read(&path).expect("read"));
    assert_eq!(told.len(), 1);
    for part in ["restart against process_exit", "code 0", "Carried out", "Success"] {
        assert!(told[0].contains(part), "{part} is missing in: {}", told[0]);
    }
}
