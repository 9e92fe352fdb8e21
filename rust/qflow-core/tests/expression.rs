//! Expressions end, by count. What they answer is tested against jq in tests/core.

use qflow_core::expression::{Expression, Inputs, Value};

fn run(source: &str) -> Result<Option<Value>, String> {
    let expression = Expression::new(source, &[]).map_err(|error| error.to_string())?;
    expression
        .evaluate(Inputs::Whole {
            input: Value::Null,
            variables: Vec::new(),
        })
        .map_err(|error| error.to_string())
}

#[test]
fn holds_e4_hostile_expressions_are_cut_off() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/hostile.jq"
    );
    let mut cut = 0;
    for source in std::fs::read_to_string(path).unwrap().lines() {
        let answer = run(source);
        cut += usize::from(answer.is_err_and(|why| why.contains("it takes more than")));
    }
    assert!(cut > 80, "{cut}");
}

#[test]
fn holds_e4_an_overrun_is_not_caught_and_leaves_the_next_evaluation_whole() {
    for _ in 0..3 {
        assert!(run("try repeat(1) catch 1 | select(false)").is_err());
        assert_eq!(run("1 + 1"), Ok(Some(Value::Int(2))));
    }
}

#[test]
fn holds_e4_nesting_is_refused_before_it_is_followed() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{a:", "}"),
        ("-", ""),
        ("try ", ""),
    ] {
        let source = [open.repeat(4_000), "1".to_owned(), close.repeat(4_000)].concat();
        let why = run(&source).unwrap_err();
        assert!(
            why.contains("nested more than") || why.contains("longer than"),
            "{why}"
        );
    }
}
