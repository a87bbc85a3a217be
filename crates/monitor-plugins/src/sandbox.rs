//! The script engine: available functions and caps.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use duration_text::Shown;
use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage,
    BasicStringPackage, CorePackage, LogicPackage, MoreStringPackage, Package as _,
};
use rhai::{AST, CallFnOptions, Dynamic, Engine, FuncArgs, Map, Scope};

use crate::Limits;

thread_local! {
    /// Deadline of the call that runs on this thread.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// An engine with its caps.
pub(crate) struct Sandbox {
    engine: Engine,
    time: Duration,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox")
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    pub(crate) fn new(limits: &Limits, extend: Option<fn(&mut Engine)>) -> Self {
        // A raw engine has no functions; the packages below do no I/O and read no clock.
        let mut engine = Engine::new_raw();
        CorePackage::new().register_into_engine(&mut engine);
        ArithmeticPackage::new().register_into_engine(&mut engine);
        LogicPackage::new().register_into_engine(&mut engine);
        BasicStringPackage::new().register_into_engine(&mut engine);
        MoreStringPackage::new().register_into_engine(&mut engine);
        BasicIteratorPackage::new().register_into_engine(&mut engine);
        BasicMathPackage::new().register_into_engine(&mut engine);
        BasicArrayPackage::new().register_into_engine(&mut engine);
        BasicMapPackage::new().register_into_engine(&mut engine);
        engine.register_fn("fresh", fresh);
        engine.register_fn("last", last);
        engine.register_fn("age", age);
        // The core package can block a thread; functions registered here override it.
        engine.register_fn("sleep", |_: rhai::INT| no_sleep());
        engine.register_fn("sleep", |_: rhai::FLOAT| no_sleep());
        engine
            .disable_symbol("eval")
            .disable_symbol("print")
            .disable_symbol("debug")
            .set_max_operations(limits.operations)
            .set_max_string_size(limits.string_bytes)
            .set_max_array_size(limits.array_items)
            .set_max_map_size(limits.map_items)
            .set_max_variables(limits.variables)
            .set_max_call_levels(limits.call_levels)
            .set_max_expr_depths(32, 16)
            .set_max_functions(100)
            .set_max_strings_interned(256)
            .set_strict_variables(true)
            .on_progress(|operations| {
                // Reading the clock costs more than an operation.
                if operations % 64 != 0 {
                    return None;
                }
                DEADLINE
                    .get()
                    .filter(|deadline| Instant::now() >= *deadline)
                    .map(|_| Dynamic::from("time"))
            });
        if let Some(extend) = extend {
            extend(&mut engine);
        }
        Self {
            engine,
            time: limits.time,
        }
    }

    pub(crate) fn compile(&self, source: &str) -> Result<AST, String> {
        let ast = catch_unwind(AssertUnwindSafe(|| self.engine.compile(source)))
            .map_err(|_| "the compiler panicked".to_owned())?
            .map_err(|e| e.to_string())?;
        Ok(ast)
    }

    /// Calls a function within the caps. `this` keeps the plugin's state.
    pub(crate) fn call(
        &self,
        ast: &AST,
        function: &str,
        this: &mut Dynamic,
        arguments: impl FuncArgs,
    ) -> Result<Dynamic, String> {
        DEADLINE.set(Some(Instant::now() + self.time));
        let result = catch_unwind(AssertUnwindSafe(|| {
            let options = CallFnOptions::new()
                .eval_ast(false)
                .rewind_scope(true)
                .bind_this_ptr(this);
            self.engine
                .call_fn_with_options::<Dynamic>(options, &mut Scope::new(), ast, function, arguments)
        }));
        DEADLINE.set(None);
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(match *error {
                rhai::EvalAltResult::ErrorTerminated(..) => {
                    format!("it took longer than {}", Shown(self.time))
                }
                rhai::EvalAltResult::ErrorInFunctionCall(_, _, inner, _)
                    if matches!(*inner, rhai::EvalAltResult::ErrorTerminated(..)) =>
                {
                    format!("it took longer than {}", Shown(self.time))
                }
                error => error.to_string(),
            }),
            Err(_) => Err("it panicked".to_owned()),
        }
    }

    pub(crate) fn functions(ast: &AST) -> Vec<(String, usize)> {
        ast.iter_functions()
            .map(|f| (f.name.to_owned(), f.params.len()))
            .collect()
    }
}

fn no_sleep() -> Result<(), Box<rhai::EvalAltResult>> {
    Err("sleep is disabled".into())
}

fn signal(signal: &Dynamic, key: &str, field: &str) -> Dynamic {
    let Some(map) = signal.read_lock::<Map>() else {
        return Dynamic::UNIT;
    };
    map.get(key)
        .and_then(|inner| {
            inner
                .read_lock::<Map>()
                .and_then(|inner| inner.get(field).cloned())
        })
        .unwrap_or(Dynamic::UNIT)
}

/// The value of a signal if it is fresh, else `()`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "functions of the engine take values"
)]
fn fresh(value: Dynamic) -> Dynamic {
    signal(&value, "fresh", "value")
}

/// The last value of a signal, however old, else `()`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "functions of the engine take values"
)]
fn last(value: Dynamic) -> Dynamic {
    let fresh = signal(&value, "fresh", "value");
    if fresh.is_unit() {
        signal(&value, "stale", "value")
    } else {
        fresh
    }
}

/// Age of a signal in seconds, else `()`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "functions of the engine take values"
)]
fn age(value: Dynamic) -> Dynamic {
    let fresh = signal(&value, "fresh", "age_secs");
    if fresh.is_unit() {
        signal(&value, "stale", "age_secs")
    } else {
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(source: &str) -> Result<Dynamic, String> {
        let sandbox = Sandbox::new(&Limits::default(), None);
        let ast = sandbox.compile(source)?;
        sandbox.call(&ast, "f", &mut Dynamic::from(Map::new()), ())
    }

    #[test]
    fn nothing_of_the_outside_can_be_reached() {
        for (source, what) in [
            ("fn f() { eval(\"1\") }", "eval"),
            ("fn f() { import \"x\" as y; 1 }", "import"),
            ("fn f() { print(1) }", "print"),
            ("fn f() { debug(1) }", "debug"),
            ("fn f() { sleep(1) }", "sleep"),
            ("fn f() { timestamp() }", "timestamp"),
            ("fn f() { open_file(\"/etc/passwd\") }", "files"),
            ("fn f() { env(\"PATH\") }", "environment"),
            ("fn f() { fetch(\"http://localhost\") }", "network"),
        ] {
            let error = run(source).expect_err(what);
            assert!(
                error.contains("not found")
                    || error.contains("reserved")
                    || error.contains("disabled")
                    || error.contains("Syntax error")
                    || error.contains("expecting")
                    || error.contains("keyword"),
                "{what}: {error}"
            );
        }
    }

    #[test]
    fn caps_end_what_would_not_end() {
        for (source, what) in [
            ("fn f() { loop {} }", "operations"),
            ("fn g(n) { g(n + 1) } fn f() { g(0) }", "recursion"),
            ("fn f() { let s = \"x\"; loop { s += s; } }", "a string"),
            (
                "fn f() { let a = []; loop { a.push(\"yyyyyyyyyyyyyyyyyyyyyy\"); } }",
                "an array",
            ),
            ("fn f() { let a = [1]; loop { a += a; } }", "a doubled array"),
            (
                "fn f() { let m = #{}; let i = 0; loop { m[`k${i}`] = i; i += 1; } }",
                "a map",
            ),
            ("fn f() { let a = [1]; loop { a = [a, a]; } }", "nesting"),
            ("fn f() { \"x\".pad(1000000000, \"y\") }", "padding"),
            (
                "fn f() { let a = []; a.pad(1000000000, 7); a }",
                "padding an array",
            ),
        ] {
            let started = Instant::now();
            run(source).expect_err(what);
            assert!(started.elapsed() < Duration::from_secs(5), "{what}");
        }
    }

    #[test]
    fn time_is_capped_where_operations_are_not() {
        let limits = Limits {
            operations: u64::MAX,
            ..Limits::default()
        };
        let sandbox = Sandbox::new(&limits, None);
        let ast = sandbox.compile("fn f() { loop {} }").expect("valid");
        let error = sandbox
            .call(&ast, "f", &mut Dynamic::from(Map::new()), ())
            .expect_err("it is stopped");
        assert!(error.contains("took longer"), "{error}");
    }

    #[test]
    fn signals_are_read_by_freshness() {
        let source = r"
            fn f() {
                let fresh = #{ fresh: #{ value: 3.0, age_secs: 0.5 } };
                let stale = #{ stale: #{ value: 4.0, age_secs: 90.0 } };
                let absent = #{ absent: `no_source` };
                [fresh(fresh), last(fresh), fresh(stale), last(stale), age(stale), fresh(absent), last(absent)]
            }
        ";
        let values = run(source).expect("it runs").into_array().expect("an array");
        let text: Vec<String> = values.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["3.0", "3.0", "", "4.0", "90.0", "", ""]);
    }

    #[test]
    fn a_panic_of_a_host_function_costs_the_call_only() {
        let sandbox = Sandbox::new(
            &Limits::default(),
            Some(|engine| {
                engine.register_fn("boom", || -> i64 { panic!("on purpose") });
            }),
        );
        let ast = sandbox.compile("fn f() { boom() } fn g() { 5 }").expect("valid");
        let mut this = Dynamic::from(Map::new());
        assert_eq!(
            sandbox.call(&ast, "f", &mut this, ()).expect_err("it panics"),
            "it panicked"
        );
        assert_eq!(
            sandbox.call(&ast, "g", &mut this, ()).expect("it runs").as_int(),
            Ok(5)
        );
    }
}
