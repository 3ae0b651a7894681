//! What is drawn, in no language yet.

use std::num::NonZeroU32;

use super::course::Course;
use crate::saga::entry::{Fact, Finish};
use crate::saga::shape::{Kind, Shape, StepShape};

/// Names are cut after so many characters, so that one that is a page does not hide the rest.
const LONGEST: usize = 100;

#[derive(Clone, Debug)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    /// What borders and colours, or shapes, stand for.
    pub(super) legend: Vec<Node>,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) form: Form,
    pub(super) look: Look,
    /// As they are; each language escapes them.
    pub(super) lines: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    /// Where a failure leads.
    pub(super) fails: bool,
}

/// The shape of a node, by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// Where it starts or ends.
    End,
    Check,
    Step,
    Undo,
    Pivot,
    Then,
}

impl Form {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Check => Self::Check,
            Kind::Step => Self::Step,
            Kind::Pivot => Self::Pivot,
            Kind::Then => Self::Then,
        }
    }

    const fn says(self) -> &'static str {
        match self {
            Self::End => "start or end",
            Self::Check => "check: reads, has no effect",
            Self::Step => "step: can be undone",
            Self::Undo => "undo of a step",
            Self::Pivot => "pivot: no way back after it",
            Self::Then => "then: tried until it is done",
        }
    }
}

/// The colour and border of a node, by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// In a definition, which has no state.
    Plain,
    Ahead,
    Next,
    Done,
    Failed,
    Doubt,
    Held,
    Undone,
}

/// How a look is drawn: fill and border as `#rrggbb`, in tints and shades of the set by Okabe and Ito.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) name: &'static str,
    pub(super) fill: &'static str,
    pub(super) border: &'static str,
    pub(super) dashed: bool,
    pub(super) thick: bool,
    says: &'static str,
}

impl Look {
    pub(super) const ALL: [Self; 8] = [
        Self::Plain,
        Self::Ahead,
        Self::Next,
        Self::Done,
        Self::Failed,
        Self::Doubt,
        Self::Held,
        Self::Undone,
    ];

    pub(super) const fn paint(self) -> Paint {
        let (name, fill, border, dashed, thick, says) = match self {
            Self::Plain => ("plain", "#ffffff", "#404040", false, false, ""),
            Self::Ahead => (
                "ahead",
                "#ffffff",
                "#595959",
                true,
                false,
                "dashed: not done",
            ),
            Self::Next => (
                "next",
                "#cfe8f7",
                "#005a8f",
                false,
                true,
                "thick, blue: next",
            ),
            Self::Done => ("done", "#c7eadf", "#006b4f", false, false, "green: done"),
            Self::Failed => ("failed", "#f9d5c2", "#a63c00", false, false, "red: failed"),
            Self::Doubt => (
                "doubt",
                "#fbe3b5",
                "#7a5200",
                true,
                false,
                "dashed, yellow: in doubt",
            ),
            Self::Held => (
                "held",
                "#f3d3e5",
                "#8f2c6b",
                true,
                true,
                "thick, dashed, purple: waits for an operator",
            ),
            Self::Undone => ("undone", "#e3e3e3", "#404040", false, false, "grey: undone"),
        };
        Paint {
            name,
            fill,
            border,
            dashed,
            thick,
            says,
        }
    }
}

pub(super) fn of_shape(shape: &Shape) -> Graph {
    draw(shape, None, true)
}

pub(super) fn of_execution(shape: &Shape, facts: &[Fact]) -> Graph {
    draw(shape, Some(&Course::of(shape, facts)), true)
}

/// The steps that the facts name, in the order in which they do.
pub(super) fn of_log(facts: &[Fact]) -> Graph {
    let mut shape = Shape::new("unknown", 0, Vec::new());
    for fact in facts {
        let step = match fact {
            Fact::Started(started) => {
                shape.name.clone_from(&started.definition);
                shape.version = started.version;
                continue;
            }
            Fact::Migrated(migrated) => {
                // The steps of the form that it had are none of its own any more.
                shape.steps.clear();
                shape.version = migrated.version;
                continue;
            }
            Fact::Done { step, .. } | Fact::Undone { step } => step,
            Fact::Intent { step, .. } => step,
            Fact::RetryAt(again) => &again.step,
            Fact::Failed(failure) => &failure.step,
            Fact::Cancelled(cancellation) => &cancellation.step,
            Fact::Incident(trouble) => match &trouble.step {
                Some(step) => step,
                None => continue,
            },
            Fact::Unwind
            | Fact::Resolved(_)
            | Fact::CancelRefused { .. }
            | Fact::Suspected { .. }
            | Fact::Proposed(_)
            | Fact::TurnedDown { .. }
            | Fact::Refused(_)
            | Fact::Finished(_) => continue,
        };
        if shape.steps.iter().all(|known| known.name != *step) {
            // Of which kind is not known; what was undone could be.
            shape.steps.push(StepShape::new(step.clone(), Kind::Step));
        }
    }
    draw(&shape, Some(&Course::of(&shape, facts)), false)
}

fn draw(shape: &Shape, course: Option<&Course<'_>>, known: bool) -> Graph {
    let mut graph = Graph {
        nodes: Vec::new(),
        edges: Vec::new(),
        legend: Vec::new(),
    };
    let title = format!("{}, version {}", cut(&shape.name), shape.version);
    let (look, state) = course.map_or((Look::Plain, None), |course| {
        let (look, word) = course.whole();
        (look, Some(word))
    });
    graph.add("start", Form::End, look, [Some(title), state]);

    let mut before = "start".to_owned();
    // The undo that runs after the one that is drawn now: that of the step before.
    let mut back = "compensated".to_owned();
    for (index, step) in shape.steps.iter().enumerate() {
        let id = format!("s{index}");
        let form = Form::of(step.kind);
        let kind = if known { step.kind.as_str() } else { "step" };
        let (look, detail) = match course {
            Some(course) => {
                let (look, word) = course.step(&step.name);
                (look, format!("{kind} · {word}"))
            }
            None => (Look::Plain, format!("{kind} · {}", tries(step.attempts))),
        };
        graph.add(&id, form, look, [Some(cut(&step.name)), Some(detail)]);
        graph.join(&before, &id, false);
        before.clone_from(&id);

        let undo = format!("u{index}");
        let undone = known || course.is_some_and(|course| course.must_undo(&step.name));
        if step.kind == Kind::Step && undone {
            let (look, detail) = match course {
                Some(course) => {
                    let (look, word) = course.undo(&step.name);
                    (look, format!("undo · {word}"))
                }
                None => (Look::Plain, format!("undo · {}", tries(step.undo_attempts))),
            };
            let name = format!("undo of {}", cut(&step.name));
            graph.add(&undo, Form::Undo, look, [Some(name), Some(detail)]);
            graph.join(&undo, &back, false);
            back = undo;
        }
        if step.kind != Kind::Then {
            graph.join(&id, &back, true);
        }
    }

    for (id, finish) in [
        ("completed", Finish::Completed),
        ("compensated", Finish::Compensated),
    ] {
        let (look, state) = course.map_or((Look::Plain, None), |course| {
            let (look, word) = course.end(finish);
            (look, Some(word))
        });
        graph.add(id, Form::End, look, [Some(id.to_owned()), state]);
    }
    graph.join(&before, "completed", false);
    if course.is_some_and(Course::is_abandoned) {
        let lines = [Some("abandoned".to_owned()), Some("ended here".to_owned())];
        graph.add("abandoned", Form::End, Look::Failed, lines);
    }
    graph.explain(course.is_some());
    graph
}

impl Graph {
    fn add<const N: usize>(
        &mut self,
        id: &str,
        form: Form,
        look: Look,
        lines: [Option<String>; N],
    ) {
        self.nodes.push(Node {
            id: id.to_owned(),
            form,
            look,
            lines: lines.into_iter().flatten().collect(),
        });
    }

    fn join(&mut self, from: &str, to: &str, fails: bool) {
        self.edges.push(Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            fails,
        });
    }

    /// A legend of what occurs: of states, or of kinds where there are none.
    fn explain(&mut self, states: bool) {
        let mut seen: Vec<(Form, Look)> = if states {
            self.nodes
                .iter()
                .map(|node| (Form::Step, node.look))
                .collect()
        } else {
            self.nodes
                .iter()
                .map(|node| (node.form, node.look))
                .collect()
        };
        seen.sort_unstable();
        seen.dedup();
        let legend = seen
            .into_iter()
            .enumerate()
            .map(|(index, (form, look))| Node {
                id: format!("l{index}"),
                form,
                look,
                lines: vec![
                    if states {
                        look.paint().says
                    } else {
                        form.says()
                    }
                    .to_owned(),
                ],
            });
        self.legend = legend.collect();
    }
}

fn tries(attempts: Option<NonZeroU32>) -> String {
    match attempts.map(NonZeroU32::get) {
        None => "tried until done".into(),
        Some(1) => "tried once".into(),
        Some(attempts) => format!("tried {attempts} times"),
    }
}

fn cut(name: &str) -> String {
    let mut cut: String = name.chars().take(LONGEST).collect();
    if cut.len() < name.len() {
        cut.push('…');
    }
    cut
}

/// Whether a character may turn what follows into something else for who reads the drawing: controls, and those that
/// change the direction of writing.
pub(super) fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
