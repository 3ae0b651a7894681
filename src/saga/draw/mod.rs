//! Drawings of sagas: of a definition, and of where one saga stands.
//!
//! Two languages: Mermaid, which code hosts and wikis draw inside a page, and DOT, which graphviz draws into a file. A
//! drawing is made from names, kinds and states alone: no payload, no text of an error, nobody's name. The same
//! definition and the same facts give the same text, letter by letter, so that a drawing can be kept beside the code and
//! compared.
//!
//! Use one to show a colleague what a definition does, and at an incident to see where a saga stands. For how many sagas
//! stand where, use the metrics.
//!
//! ```text
//!   ( pay, version 1 )
//!          │
//!   ┌─────────────┐   fails    ╱──────────────────╱
//!   │ reserve     │ ╌╌╌╌╌╌╌╌╌▶╱ undo of reserve  ╱
//!   │ step · done │          ╱ undo · next      ╱
//!   └─────────────┘          ╲──────────────────
//!          │
//! ```
//!
//! Every state is said in words as well as by a colour and a border: a drawing that is printed, or seen by somebody who
//! tells few colours apart, says the same. Colours are tints of the set by Okabe and Ito; text on each has a contrast of
//! at least 7 to 1, borders of at least 3 to 1.
//!
//! Names are escaped, whatever is in them: a step called `"]; evil["` is drawn as a step of that name.
//!
//! # Example
//!
//! ```
//! use mainstay::saga::entry::Fact;
//! use mainstay::saga::draw::Drawing;
//! use mainstay::saga::{Kind, Shape, StepShape};
//!
//! let shape = Shape::new("pay", 1, vec![
//!     StepShape::new("reserve", Kind::Step),
//!     StepShape::new("transfer", Kind::Pivot),
//! ]);
//! assert!(shape.mermaid().starts_with("flowchart TD\n"));
//!
//! // The body of a record, as the journal has it.
//! let body = r#"[{"done":{"step":"reserve","output":"R-1"}}]"#;
//! let facts: Vec<Fact> = serde_json::from_str(body)?;
//! let drawing = Drawing::of_execution(&shape, &facts);
//! assert!(drawing.mermaid().contains(r#"["reserve<br/>step · done"]"#));
//! assert!(drawing.dot().contains(r#"label="transfer\npivot · next""#));
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! # Sources
//!
//! M. Okabe, K. Ito: "Color Universal Design", 2008 (the colours). WCAG 2.2, success criteria 1.4.1, 1.4.6 and 1.4.11
//! (what must not hang on colour alone, and the contrasts). Graphviz, "The DOT Language". Mermaid, "Flowcharts".

mod course;
mod dot;
mod graph;
mod mermaid;

use super::entry::Fact;
use super::shape::Shape;
use graph::Graph;

/// A drawing, to be written in one of two languages. The [module](self) has an example.
#[derive(Clone, Debug)]
pub struct Drawing(Graph);

impl Drawing {
    /// Of a definition: its steps, their kinds, how often each is tried, and where a failure leads.
    #[must_use]
    pub fn of(shape: &Shape) -> Self {
        Self(graph::of_shape(shape))
    }

    /// Of one saga: what of its definition is done, undone, next, in doubt or held, according to its facts.
    ///
    /// It draws what the facts say also where no correct engine would have written them: a drawing is for looking at
    /// what is wrong.
    #[must_use]
    pub fn of_execution(shape: &Shape, facts: &[Fact]) -> Self {
        Self(graph::of_execution(shape, facts))
    }

    /// Of one saga whose definition is not known here: only the steps that its facts name, and of no kind.
    #[must_use]
    pub fn of_log(facts: &[Fact]) -> Self {
        Self(graph::of_log(facts))
    }

    /// In Mermaid.
    #[must_use]
    pub fn mermaid(&self) -> String {
        mermaid::write(&self.0)
    }

    /// In DOT, for graphviz.
    #[must_use]
    pub fn dot(&self) -> String {
        dot::write(&self.0)
    }
}

impl Shape {
    /// Draws the definition in Mermaid. The same as [`Drawing::of`] and [`Drawing::mermaid`].
    #[must_use]
    pub fn mermaid(&self) -> String {
        Drawing::of(self).mermaid()
    }

    /// Draws the definition in DOT, for graphviz. The same as [`Drawing::of`] and [`Drawing::dot`].
    #[must_use]
    pub fn dot(&self) -> String {
        Drawing::of(self).dot()
    }
}
