//! A small serving engine in virtual time: continuous batching, chunked prefill, a KV cache that can run full.
//!
//! The simulator of the workspace keeps its engine private and is driven by sockets, so that a run of it depends on
//! the machine. This one has the same step-time model, is a function of its seeds, and simulates an hour in seconds.

use std::collections::VecDeque;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, LogNormal, StandardNormal};
use run_diagnosis::input::{Column, PerSecond, RequestTimes, Run, RunFacts, Scenario};

use super::random;

/// The engine and what is around it.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) fixed_secs: f64,
    pub(crate) weights_secs: f64,
    pub(crate) per_token_secs: f64,
    pub(crate) per_sequence_secs: f64,
    pub(crate) per_context_token_secs: f64,
    /// Deviation of a step's duration, as a ratio.
    pub(crate) jitter_ratio: f64,
    /// Divides every step time.
    pub(crate) speed_ratio: f64,
    /// Share of steps that take exponentially distributed extra time, and its mean.
    pub(crate) slow_steps: Option<(f64, f64)>,
    pub(crate) max_num_seqs: usize,
    pub(crate) max_num_batched_tokens: u32,
    pub(crate) kv_capacity_tokens: u64,
    /// Time for which each request occupies the only front-end process.
    pub(crate) front_end_secs: f64,
    /// Most requests that the client has at the server.
    pub(crate) client_limit: Option<usize>,
}

impl Engine {
    /// Llama 3.1 8B in bfloat16 on one H100 by arithmetic, as the simulator's preset.
    pub(crate) fn h100_8b() -> Self {
        Self {
            fixed_secs: 1e-3,
            weights_secs: 6e-3,
            per_token_secs: 27e-6,
            per_sequence_secs: 5e-6,
            per_context_token_secs: 49e-9,
            jitter_ratio: 0.02,
            speed_ratio: 1.0,
            slow_steps: None,
            max_num_seqs: 1024,
            max_num_batched_tokens: 8192,
            kv_capacity_tokens: 420_000,
            front_end_secs: 0.0,
            client_limit: None,
        }
    }
}

/// One request of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at_secs: f64,
    pub(crate) prompt: u32,
    pub(crate) output: u32,
}

/// Requests at random times, with log-normal lengths around medians.
pub(crate) fn poisson(seed: u64, count: usize, qps: f64, prompt: f64, output: f64) -> Vec<Arrival> {
    let mut random = random(seed);
    let mut at_secs = 0.0;
    (0..count)
        .map(|_| {
            let gap: f64 = Exp1.sample(&mut random);
            at_secs += gap / qps;
            Arrival {
                at_secs,
                prompt: length(&mut random, prompt),
                output: length(&mut random, output),
            }
        })
        .collect()
}

/// As many requests at a time 0.
pub(crate) fn at_once(seed: u64, count: usize, prompt: f64, output: f64) -> Vec<Arrival> {
    let arrivals = poisson(seed, count, 1.0, prompt, output);
    arrivals
        .into_iter()
        .map(|arrival| Arrival {
            at_secs: 0.0,
            ..arrival
        })
        .collect()
}

fn length(random: &mut ChaCha8Rng, median: f64) -> u32 {
    let lengths = LogNormal::new(median.ln(), 0.6).expect("a positive median");
    lengths.sample(random).round().clamp(2.0, 20.0 * median) as u32
}

struct Sequence {
    request: usize,
    /// Tokens that have to be computed before the next output token.
    to_compute: u32,
    context: u32,
    generated: u32,
}

struct Step {
    ends_secs: f64,
    tokens: u32,
    prompt_tokens: u32,
    output_tokens: u32,
    running: usize,
    waiting: usize,
    client_queue: usize,
    in_flight: usize,
    context_tokens: u64,
    preemptions: u32,
}

#[derive(Clone, Copy, Default)]
struct Times {
    sent: f64,
    at_engine: f64,
    scheduled: Option<f64>,
    first_token: Option<f64>,
    done: Option<f64>,
}

/// Serves a load with so many requests in flight, all of them issued when there is room.
pub(crate) fn serve_concurrently(engine: &Engine, load: &[Arrival], concurrency: usize, seed: u64) -> Run {
    let limited = Engine {
        client_limit: Some(concurrency),
        ..engine.clone()
    };
    let mut run = serve(&limited, load, Scenario::Concurrency, seed);
    for request in &mut run.requests {
        request.issued_ns = request.sent_ns.unwrap_or(request.issued_ns);
    }
    let server = |second| Some(run.seconds.in_flight.at(second)? - run.seconds.client_queue.at(second)?);
    run.seconds.in_flight = Column::of((0..run.seconds.seconds).map(server));
    run.seconds.client_queue = Column::full(vec![0.0; run.seconds.seconds]);
    run
}

/// Serves a load and returns the run as it would be recorded. `seed` is that of the jitter.
pub(crate) fn serve(engine: &Engine, load: &[Arrival], scenario: Scenario, seed: u64) -> Run {
    let mut random = random(seed);
    let mut times = vec![Times::default(); load.len()];
    let (mut client, mut waiting) = (VecDeque::new(), VecDeque::new());
    let mut running: Vec<Sequence> = Vec::new();
    let mut steps: Vec<Step> = Vec::new();
    let (mut now, mut issued, mut done, mut front_end_free) = (0.0_f64, 0, 0, 0.0_f64);
    // Requests that were sent and are still in the front end.
    let mut in_front_end: VecDeque<usize> = VecDeque::new();
    while done < load.len() {
        while issued < load.len() && load[issued].at_secs <= now {
            client.push_back(issued);
            issued += 1;
        }
        let at_server = in_front_end.len() + waiting.len() + running.len();
        let may_send = engine
            .client_limit
            .unwrap_or(usize::MAX)
            .saturating_sub(at_server);
        for _ in 0..may_send.min(client.len()) {
            let request: usize = client.pop_front().expect("as many as the loop counts");
            times[request].sent = if engine.client_limit.is_some() {
                now.max(load[request].at_secs)
            } else {
                load[request].at_secs
            };
            front_end_free = front_end_free.max(times[request].sent) + engine.front_end_secs;
            times[request].at_engine = front_end_free;
            in_front_end.push_back(request);
        }
        while in_front_end
            .front()
            .is_some_and(|request| times[*request].at_engine <= now)
        {
            let request = in_front_end.pop_front().expect("it was just looked at");
            waiting.push_back(Sequence {
                request,
                to_compute: load[request].prompt,
                context: 0,
                generated: 0,
            });
        }
        if running.is_empty() && waiting.is_empty() {
            let next_arrival = load.get(issued).map_or(f64::INFINITY, |arrival| arrival.at_secs);
            let next_ready = in_front_end
                .front()
                .map_or(f64::INFINITY, |request| times[*request].at_engine);
            now = next_arrival.min(next_ready);
            continue;
        }

        let mut step = schedule(engine, &mut running, &mut waiting, &mut times, now);
        let busy = engine.fixed_secs
            + engine
                .weights_secs
                .max(f64::from(step.tokens) * engine.per_token_secs)
            + running.len() as f64 * engine.per_sequence_secs
            + step.context_tokens as f64 * engine.per_context_token_secs;
        let noise: f64 = StandardNormal.sample(&mut random);
        let mut duration = busy / engine.speed_ratio * (1.0 + engine.jitter_ratio * noise).max(0.5);
        if let Some((share, mean_secs)) = engine.slow_steps
            && random.random::<f64>() < share
        {
            let extra: f64 = Exp1.sample(&mut random);
            duration += mean_secs * extra;
        }
        now += duration;
        running.retain_mut(|sequence| {
            if sequence.to_compute > 0 {
                return true;
            }
            sequence.generated += 1;
            sequence.to_compute = 1;
            step.output_tokens += 1;
            let times = &mut times[sequence.request];
            times.first_token.get_or_insert(now);
            let finished = sequence.generated >= load[sequence.request].output;
            if finished {
                times.done = Some(now);
                done += 1;
            }
            !finished
        });
        step.ends_secs = now;
        step.client_queue = client.len();
        step.in_flight = client.len() + in_front_end.len() + waiting.len() + running.len();
        steps.push(step);
    }
    record(engine, load, scenario, &times, &steps)
}

/// Decides what is computed in the next step; what is left to compute of each running sequence goes down by it.
fn schedule(
    engine: &Engine,
    running: &mut Vec<Sequence>,
    waiting: &mut VecDeque<Sequence>,
    times: &mut [Times],
    now: f64,
) -> Step {
    let mut step = Step {
        ends_secs: now,
        tokens: 0,
        prompt_tokens: 0,
        output_tokens: 0,
        running: 0,
        waiting: 0,
        client_queue: 0,
        in_flight: 0,
        context_tokens: 0,
        preemptions: 0,
    };
    let mut budget = engine.max_num_batched_tokens;
    let mut used: u64 = running.iter().map(|sequence| u64::from(sequence.context)).sum();
    // Every running sequence may need one more token of cache; the newest ones make room.
    while used + running.len() as u64 > engine.kv_capacity_tokens && running.len() > 1 {
        let mut last = running.pop().expect("there are at least two");
        used -= u64::from(last.context);
        last.to_compute += last.context;
        last.context = 0;
        waiting.push_front(last);
        step.preemptions += 1;
    }
    for sequence in running.iter_mut() {
        compute(sequence, &mut budget, &mut used, &mut step);
    }
    while budget > 0 && step.preemptions == 0 && running.len() < engine.max_num_seqs {
        let Some(next) = waiting.front() else { break };
        if used + u64::from(next.to_compute) > engine.kv_capacity_tokens {
            break;
        }
        let mut sequence = waiting.pop_front().expect("it was just looked at");
        times[sequence.request].scheduled.get_or_insert(now);
        compute(&mut sequence, &mut budget, &mut used, &mut step);
        running.push(sequence);
    }
    step.running = running.len();
    step.waiting = waiting.len();
    step.context_tokens = running.iter().map(|sequence| u64::from(sequence.context)).sum();
    step
}

fn compute(sequence: &mut Sequence, budget: &mut u32, used: &mut u64, step: &mut Step) {
    let is_prompt = sequence.to_compute > 1 || sequence.context == 0;
    let tokens = sequence.to_compute.min(*budget);
    *budget -= tokens;
    *used += u64::from(tokens);
    sequence.to_compute -= tokens;
    sequence.context += tokens;
    step.tokens += tokens;
    if is_prompt {
        step.prompt_tokens += tokens;
    }
}

/// The run as client and server would record it, gauges being those at the end of each second.
fn record(engine: &Engine, load: &[Arrival], scenario: Scenario, times: &[Times], steps: &[Step]) -> Run {
    let ns = |secs: f64| (secs * 1e9).round() as i64;
    let requests: Vec<RequestTimes> = load
        .iter()
        .zip(times)
        .enumerate()
        .map(|(i, (arrival, times))| RequestTimes {
            sample_index: Some(i as u64),
            scheduled_ns: scenario.is_scheduled().then_some(ns(arrival.at_secs)),
            issued_ns: ns(arrival.at_secs),
            sent_ns: Some(ns(times.sent)),
            first_token_ns: times.first_token.map(ns),
            done_ns: times.done.map(ns),
            prompt_tokens: Some(arrival.prompt),
            output_tokens: Some(arrival.output),
            server_queue_ns: times.scheduled.map(|scheduled| ns(scheduled - times.at_engine)),
            server_prefill_ns: times
                .first_token
                .zip(times.scheduled)
                .map(|(first, scheduled)| ns(first - scheduled)),
            server_decode_ns: times
                .done
                .zip(times.first_token)
                .map(|(done, first)| ns(done - first)),
            failed: false,
        })
        .collect();

    let seconds = steps.last().map_or(0, |step| step.ends_secs.ceil() as usize);
    let mut columns = vec![Second::default(); seconds];
    for step in steps {
        let second = &mut columns[(step.ends_secs as usize).min(seconds - 1)];
        second.steps += 1.0;
        second.tokens += f64::from(step.tokens);
        second.prompt += f64::from(step.prompt_tokens);
        second.output += f64::from(step.output_tokens);
        second.preemptions += f64::from(step.preemptions);
        second.last = Some((
            step.running,
            step.waiting,
            step.client_queue,
            step.in_flight,
            step.context_tokens,
        ));
    }
    let column = |of: fn(&Second) -> f64| Column::full(columns.iter().map(of));
    let gauge = |of: fn(&(usize, usize, usize, usize, u64)) -> f64| {
        Column::full(columns.iter().map(|second| second.last.as_ref().map_or(0.0, of)))
    };
    let capacity = engine.kv_capacity_tokens as f64;
    let front_end_cores = |second: usize| {
        let sent = times
            .iter()
            .filter(|times| times.at_engine.floor() as usize == second)
            .count();
        (sent as f64 * engine.front_end_secs).min(1.0)
    };
    let mut facts = RunFacts::new("run", scenario);
    facts.simulated = true;
    facts.max_num_seqs = u32::try_from(engine.max_num_seqs).ok();
    facts.max_num_batched_tokens = Some(engine.max_num_batched_tokens);
    facts.kv_capacity_tokens = Some(capacity);
    Run {
        facts,
        seconds: PerSecond {
            seconds,
            output_tokens: column(|second| second.output),
            in_flight: gauge(|last| last.3 as f64),
            client_queue: gauge(|last| last.2 as f64),
            running: gauge(|last| last.0 as f64),
            waiting_for_capacity: gauge(|last| last.1 as f64),
            waiting_deferred: Column::full(vec![0.0; seconds]),
            kv_cache_usage_ratio: Column::full(
                columns
                    .iter()
                    .map(|second| second.last.map_or(0.0, |last| last.4 as f64 / capacity)),
            ),
            preemptions: column(|second| second.preemptions),
            engine_steps: column(|second| second.steps),
            step_tokens: column(|second| second.tokens),
            prompt_tokens_computed: column(|second| second.prompt),
            generation_tokens: column(|second| second.output),
            api_server_cpu_cores: Column::full((0..seconds).map(front_end_cores)),
            ..PerSecond::default()
        },
        requests,
    }
}

#[derive(Clone, Default)]
struct Second {
    steps: f64,
    tokens: f64,
    prompt: f64,
    output: f64,
    preemptions: f64,
    last: Option<(usize, usize, usize, usize, u64)>,
}
