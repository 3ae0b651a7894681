//! Drawings of sagas: what they say, that they stay the same, and that no name breaks them.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "reads whether golden files are to be written anew"
)]

use std::path::Path;

use mainstay::saga::draw::Drawing;
use mainstay::saga::entry::Fact;
use mainstay::saga::{Kind, Shape, StepShape};
use proptest::prelude::*;

fn shape() -> Shape {
    let steps = vec![
        StepShape::new("check_budget", Kind::Check).attempts(3_u32.try_into().ok()),
        StepShape::new("reserve", Kind::Step).undo_attempts(None),
        StepShape::new("create_payment", Kind::Step).undo_attempts(10_u32.try_into().ok()),
        StepShape::new("transfer", Kind::Pivot),
        StepShape::new("notify", Kind::Then).attempts(None),
    ];
    Shape::new("pay_invoice", 2, steps)
}

fn facts(records: &[&str]) -> Vec<Fact> {
    let started = r#"[{"started":{"definition":"pay_invoice","version":2,"fingerprint":"f","nonce":"n","input":"SECRET"}}]"#;
    [started]
        .iter()
        .chain(records)
        .flat_map(|record| serde_json::from_str::<Vec<Fact>>(record).unwrap())
        .collect()
}

const BUDGET: &str = r#"[{"done":{"step":"check_budget","output":"SECRET"}}]"#;
const RESERVED: &str = r#"[{"done":{"step":"reserve","output":"SECRET"}}]"#;
const CREATED: &str = r#"[{"done":{"step":"create_payment","output":"SECRET"}}]"#;
const TRANSFERRED: &str = r#"[{"done":{"step":"transfer","output":"SECRET"}}]"#;
const IN_DOUBT: &str = r#"[{"failed":{"step":"create_payment","effect":"possible","error":"SECRET","attempts":3}},"unwind"]"#;
const REFUSED: &str =
    r#"[{"failed":{"step":"transfer","effect":"none","error":"SECRET","attempts":1}},"unwind"]"#;
const UNDONE: &str = r#"[{"undone":{"step":"create_payment"}}]"#;
const ALL_UNDONE: &str = r#"[{"undone":{"step":"reserve"}},{"finished":"compensated"}]"#;
const HELD_PIVOT: &str = r#"[{"incident":{"number":1,"class":"unknown_outcome","step":"transfer","error":"SECRET","attempts":1}}]"#;
const HELD_UNDO: &str = r#"[{"incident":{"number":1,"class":"undo_failed","step":"create_payment","error":"SECRET","attempts":10}}]"#;
const HELD_WHOLE: &str = r#"[{"incident":{"number":1,"class":"definition_changed","step":null,"error":"SECRET","attempts":0}}]"#;
const RETRIED: &str =
    r#"[{"resolved":{"incident":1,"operation":"retry","actor":"SECRET","reason":"SECRET"}}]"#;
const ABANDONED: &str = r#"[{"resolved":{"incident":1,"operation":"abandon","actor":"SECRET","reason":"SECRET"}},{"finished":"abandoned"}]"#;
const NOTIFIED: &str = r#"[{"done":{"step":"notify","output":null}},{"finished":"completed"}]"#;

/// Every state that is worth a look, by name.
fn drawings() -> Vec<(&'static str, Drawing)> {
    let of = |records: &[&str]| Drawing::of_execution(&shape(), &facts(records));
    vec![
        ("definition", Drawing::of(&shape())),
        ("begun", of(&[])),
        ("under_way", of(&[BUDGET, RESERVED])),
        (
            "completed",
            of(&[BUDGET, RESERVED, CREATED, TRANSFERRED, NOTIFIED]),
        ),
        ("in_doubt", of(&[BUDGET, RESERVED, IN_DOUBT])),
        (
            "unwinding",
            of(&[BUDGET, RESERVED, CREATED, REFUSED, UNDONE]),
        ),
        (
            "compensated",
            of(&[BUDGET, RESERVED, CREATED, REFUSED, UNDONE, ALL_UNDONE]),
        ),
        ("held_pivot", of(&[BUDGET, RESERVED, CREATED, HELD_PIVOT])),
        (
            "held_undo",
            of(&[BUDGET, RESERVED, CREATED, REFUSED, HELD_UNDO]),
        ),
        ("held_whole", of(&[BUDGET, HELD_WHOLE])),
        (
            "retried",
            of(&[BUDGET, RESERVED, CREATED, HELD_PIVOT, RETRIED]),
        ),
        (
            "abandoned",
            of(&[BUDGET, RESERVED, CREATED, HELD_PIVOT, ABANDONED]),
        ),
        (
            "unknown_definition",
            Drawing::of_log(&facts(&[BUDGET, RESERVED, IN_DOUBT])),
        ),
        ("nothing", Drawing::of_log(&[])),
    ]
}

// === what they say ===

/// `MAINSTAY_BLESS=1` writes the files anew; look at the difference before it is committed.
#[test]
fn drawings_are_those_of_the_golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drawings");
    let bless = std::env::var_os("MAINSTAY_BLESS").is_some();
    for (name, drawing) in drawings() {
        for (text, ending) in [(drawing.mermaid(), "mmd"), (drawing.dot(), "dot")] {
            let file = folder.join(format!("{name}.{ending}"));
            if bless {
                std::fs::write(&file, &text).unwrap();
            }
            let golden = std::fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(text, golden.replace("\r\n", "\n"), "{}", file.display());
        }
    }
}

/// The words of each state, one by one, without the rest of the drawing.
#[test]
fn every_state_is_said_in_words() {
    let texts = drawings();
    let text = |name: &str| {
        let (_, drawing) = texts.iter().find(|(found, _)| *found == name).unwrap();
        drawing.mermaid()
    };
    for (name, said) in [
        (
            "definition",
            r#"s0{{"check_budget<br/>check · tried 3 times"}}"#,
        ),
        (
            "definition",
            r#"u1[/"undo of reserve<br/>undo · tried until done"/]"#,
        ),
        ("definition", "s1 -. fails .-> u1"),
        ("definition", "s0 -. fails .-> compensated"),
        ("definition", "s3 -. fails .-> u2"),
        ("definition", "u2 --> u1"),
        ("begun", "check_budget<br/>check · next"),
        ("under_way", "reserve<br/>step · done"),
        ("under_way", "create_payment<br/>step · next"),
        ("completed", r#"completed("completed<br/>ended here")"#),
        ("completed", "undo of reserve<br/>undo · not needed"),
        (
            "in_doubt",
            "create_payment<br/>step · failed, may have had its effect",
        ),
        ("in_doubt", "undo of create_payment<br/>undo · next"),
        ("in_doubt", "undo of reserve<br/>undo · to be undone"),
        ("unwinding", "transfer<br/>pivot · failed"),
        ("unwinding", "undo of create_payment<br/>undo · undone"),
        ("unwinding", "undo of reserve<br/>undo · next"),
        ("unwinding", "pay_invoice, version 2<br/>going back"),
        (
            "compensated",
            r#"compensated("compensated<br/>ended here")"#,
        ),
        ("held_pivot", "transfer<br/>pivot · waits for an operator"),
        ("held_pivot", "going forward · incident 1: unknown_outcome"),
        (
            "held_undo",
            "undo of create_payment<br/>undo · waits for an operator",
        ),
        ("held_undo", "going back · incident 1: undo_failed"),
        (
            "held_whole",
            "going forward · incident 1: definition_changed",
        ),
        ("retried", "transfer<br/>pivot · next"),
        ("abandoned", "transfer<br/>pivot · given up here"),
        ("abandoned", r#"abandoned("abandoned<br/>ended here")"#),
        (
            "unknown_definition",
            "undo of create_payment<br/>undo · next",
        ),
    ] {
        assert!(
            text(name).contains(said),
            "{name}: no {said} in\n{}",
            text(name)
        );
    }
    for name in [
        "held_pivot",
        "held_undo",
        "held_whole",
        "abandoned",
        "completed",
    ] {
        let stands = text(name)
            .lines()
            .filter(|line| line.contains("· next"))
            .count();
        assert_eq!(stands, 0, "{name} goes nowhere");
    }
}

#[test]
fn no_drawing_shows_a_payload_or_a_text() {
    for (name, drawing) in drawings() {
        assert!(!drawing.mermaid().contains("SECRET"), "{name}");
        assert!(!drawing.dot().contains("SECRET"), "{name}");
    }
}

// === that they can be read ===

fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// WCAG 2.2: 1.4.6 for text, 1.4.11 for borders; and 1.4.1, that no two states differ by colour alone, is in the words.
#[test]
fn colours_have_contrast() {
    let mut seen = 0;
    for (_, drawing) in drawings() {
        for line in drawing
            .mermaid()
            .lines()
            .filter(|line| line.contains("classDef"))
        {
            let colour = |field: &str| {
                let at = line.find(field).unwrap() + field.len();
                line[at..at + 7].to_owned()
            };
            let (fill, border, text) = (colour("fill:"), colour("stroke:"), colour(",color:"));
            assert!(contrast(&fill, &text) >= 7.0, "{line}");
            assert!(contrast(&fill, &border) >= 3.0, "{line}");
            assert!(contrast("#ffffff", &border) >= 3.0, "{line}");
            seen += 1;
        }
    }
    assert!(seen > 20);
    assert!((contrast("#ffffff", "#000000") - 21.0).abs() < 0.01);
}

// === that they are what they say they are ===

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Id(String),
    Text(String),
    Sign(&'static str),
}

/// The words of DOT, after "The DOT Language"; `None` for what is none.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter.is_whitespace() => {}
            '"' => {
                let mut string = String::new();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' => string.extend(['\\', letters.next()?]),
                        letter => string.push(letter),
                    }
                }
                tokens.push(Token::Text(string));
            }
            '-' if letters.next_if_eq(&'>').is_some() => tokens.push(Token::Sign("->")),
            letter if letter.is_ascii_alphanumeric() || letter == '_' => {
                let mut id = String::from(letter);
                while let Some(letter) =
                    letters.next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
                {
                    id.push(letter);
                }
                tokens.push(Token::Id(id));
            }
            letter => {
                let signs = ["{", "}", "[", "]", "=", ",", ";"];
                tokens.push(Token::Sign(
                    signs.into_iter().find(|sign| sign.starts_with(letter))?,
                ));
            }
        }
    }
    Some(tokens)
}

/// What of the grammar these drawings use. Returns the nodes with their labels, and the edges.
#[derive(Default)]
struct Parsed {
    nodes: Vec<(String, String)>,
    edges: Vec<(String, String)>,
}

struct Parser {
    tokens: std::vec::IntoIter<Token>,
    parsed: Parsed,
}

impl Parser {
    fn parse(text: &str) -> Option<Parsed> {
        let mut parser = Self {
            tokens: tokens(text)?.into_iter(),
            parsed: Parsed::default(),
        };
        parser.keyword("digraph")?;
        parser.id()?;
        parser.block()?;
        parser.tokens.next().is_none().then_some(parser.parsed)
    }

    fn id(&mut self) -> Option<String> {
        match self.tokens.next()? {
            Token::Id(id) => Some(id),
            _ => None,
        }
    }

    fn keyword(&mut self, word: &str) -> Option<()> {
        (self.id()? == word).then_some(())
    }

    fn sign(&mut self, sign: &'static str) -> Option<()> {
        (self.tokens.next()? == Token::Sign(sign)).then_some(())
    }

    fn block(&mut self) -> Option<()> {
        self.sign("{")?;
        loop {
            match self.tokens.next()? {
                Token::Sign("}") => return Some(()),
                Token::Id(id) if id == "subgraph" => {
                    self.id()?;
                    self.block()?;
                }
                Token::Id(id) => self.statement(id)?,
                _ => return None,
            }
        }
    }

    /// `id = id;` or `id [..];` or `id -> id [..];`
    fn statement(&mut self, id: String) -> Option<()> {
        let mut to = None;
        let mut next = self.tokens.next()?;
        if next == Token::Sign("=") {
            self.tokens.next()?;
            return self.sign(";");
        }
        if next == Token::Sign("->") {
            to = Some(self.id()?);
            next = self.tokens.next()?;
        }
        let mut label = None;
        if next == Token::Sign("[") {
            loop {
                let name = self.id()?;
                self.sign("=")?;
                let (Token::Id(value) | Token::Text(value)) = self.tokens.next()? else {
                    return None;
                };
                if name == "label" {
                    label = Some(value);
                }
                match self.tokens.next()? {
                    Token::Sign("]") => break,
                    Token::Sign(",") => {}
                    _ => return None,
                }
            }
            next = self.tokens.next()?;
        }
        match (to, id.as_str()) {
            (Some(to), _) => self.parsed.edges.push((id, to)),
            (None, "node" | "edge") => {}
            (None, _) => self.parsed.nodes.push((id, label?)),
        }
        (next == Token::Sign(";")).then_some(())
    }
}

#[test]
fn the_parser_refuses_what_is_no_dot() {
    for text in [
        "",
        "digraph saga {",
        "digraph saga { a [label=\"x]; }",
        "digraph saga { a -> ; }",
        "digraph saga { a [label=x } ",
        "digraph saga { a [label=\"x\"] } }",
        "graph saga { }",
        "digraph saga { a [label=\"x\"]; } evil",
    ] {
        assert!(Parser::parse(text).is_none(), "{text}");
    }
}

/// Nodes that are there, edges between them, and nothing else: whatever the names are.
fn holds_together(shape: &Shape, drawing: &Drawing) -> Result<(), String> {
    let dot = drawing.dot();
    let parsed = Parser::parse(&dot).ok_or_else(|| format!("no DOT: {dot}"))?;
    let ids: Vec<&str> = parsed.nodes.iter().map(|(id, _)| id.as_str()).collect();
    for (from, to) in &parsed.edges {
        if !ids.contains(&from.as_str()) || !ids.contains(&to.as_str()) {
            return Err(format!("an edge without a node: {from} -> {to}"));
        }
    }
    let steps = ids
        .iter()
        .filter(|id| id.starts_with('s') && **id != "start")
        .count();
    if steps != shape.steps.len() {
        return Err(format!("{steps} steps of {}", shape.steps.len()));
    }
    for line in drawing.mermaid().lines().skip(1) {
        let quotes = line.matches('"').count();
        if !matches!(quotes, 0 | 2) {
            return Err(format!("{quotes} quotes: {line}"));
        }
        if let Some(label) = line.split('"').nth(1) {
            let bare = label.replace("<br/>", "");
            let harmless =
                |letter: char| letter.is_alphanumeric() || " _-.,:·#;\u{fffd}".contains(letter);
            if let Some(letter) = bare.chars().find(|letter| !harmless(*letter)) {
                return Err(format!("{letter:?} in {line}"));
            }
        }
        let word = line.trim_start();
        let known = [
            "subgraph legend",
            "end",
            "classDef ",
            "class ",
            "start",
            "s",
            "u",
            "l",
            "completed",
            "compensated",
            "abandoned",
        ];
        if !known.iter().any(|known| word.starts_with(known)) {
            return Err(format!("an unknown line: {line}"));
        }
    }
    Ok(())
}

#[test]
fn golden_drawings_hold_together() {
    for (name, drawing) in drawings() {
        if !matches!(name, "unknown_definition" | "nothing") {
            holds_together(&shape(), &drawing).unwrap();
        }
    }
}

#[test]
fn names_that_mean_something_elsewhere_break_nothing() {
    for name in [
        "a\"]; evil[\"b",
        "a\\",
        "\\\"",
        "a\nb",
        "a\r\nend\n",
        "]]",
        "}}",
        "%% comment",
        "end",
        "subgraph x",
        "click s0 \"javascript:alert(1)\"",
        "<script>alert(1)</script>",
        "&quot;",
        "#quot;",
        "`md`",
        "\u{202e}txt",
        "\0",
        "->",
        "/* x */",
        "//",
        "{",
        "",
        " ",
        "a;b",
        "日本",
        "classDef x fill:red",
        &"x".repeat(10_000),
    ] {
        let steps = vec![
            StepShape::new(name, Kind::Step),
            StepShape::new("last", Kind::Pivot),
        ];
        let shape = Shape::new(name, 1, steps);
        let facts = [serde_json::json!({"done": {"step": name, "output": 1}})];
        let facts: Vec<Fact> = serde_json::from_value(serde_json::json!(facts)).unwrap();
        for drawing in [Drawing::of(&shape), Drawing::of_execution(&shape, &facts)] {
            holds_together(&shape, &drawing).unwrap_or_else(|why| panic!("{name:?}: {why}"));
            assert!(drawing.mermaid().len() < 20_000, "{name:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any names, any facts, legal or not: a drawing comes, of the same form, and again the same.
    #[test]
    fn whatever_the_names_and_facts_are(
        names in prop::collection::vec(any::<String>(), 0..6),
        kinds in prop::collection::vec(0_usize..4, 6),
        picks in prop::collection::vec((0_usize..9, 0_usize..6), 0..12),
    ) {
        let all = [Kind::Check, Kind::Step, Kind::Pivot, Kind::Then];
        let steps = names.iter().zip(&kinds).map(|(name, kind)| StepShape::new(name.as_str(), all[*kind])).collect();
        let shape = Shape::new(names.first().cloned().unwrap_or_default(), 1, steps);
        let facts: Vec<Fact> = picks
            .iter()
            .map(|(kind, step)| {
                let step = names.get(*step).cloned().unwrap_or_default();
                let fact = match kind {
                    0 => serde_json::json!({"started": {"definition": step, "version": 1, "fingerprint": "", "nonce": "", "input": 1}}),
                    1 => serde_json::json!({"done": {"step": step, "output": 1}}),
                    2 => serde_json::json!({"failed": {"step": step, "effect": "possible", "error": "", "attempts": 1}}),
                    3 => serde_json::json!("unwind"),
                    4 => serde_json::json!({"undone": {"step": step}}),
                    5 => serde_json::json!({"incident": {"number": 1, "class": "halted", "step": step, "error": "", "attempts": 1}}),
                    6 => serde_json::json!({"resolved": {"incident": 1, "operation": "abandon", "actor": "", "reason": ""}}),
                    7 => serde_json::json!({"resolved": {"incident": 1, "operation": "retry", "actor": "", "reason": ""}}),
                    _ => serde_json::json!({"finished": "compensated"}),
                };
                serde_json::from_str(&fact.to_string()).unwrap()
            })
            .collect();
        for drawing in [Drawing::of(&shape), Drawing::of_execution(&shape, &facts)] {
            prop_assert_eq!(holds_together(&shape, &drawing), Ok(()));
        }
        let again = Drawing::of_execution(&shape, &facts).dot();
        prop_assert_eq!(Drawing::of_execution(&shape, &facts).dot(), again);
        prop_assert!(Parser::parse(&Drawing::of_log(&facts).dot()).is_some());
    }
}
