//! In Mermaid.

use super::graph::{Form, Graph, Look, Node, is_invisible};

pub(super) fn write(graph: &Graph) -> String {
    let mut text = String::from("flowchart TD\n");
    for node in &graph.nodes {
        line(&mut text, "  ", &of_node(node));
    }
    for edge in &graph.edges {
        let arrow = if edge.fails { "-. fails .->" } else { "-->" };
        line(
            &mut text,
            "  ",
            &format!("{} {arrow} {}", edge.from, edge.to),
        );
    }
    line(&mut text, "  ", "subgraph legend [\"legend\"]");
    for node in &graph.legend {
        line(&mut text, "    ", &of_node(node));
    }
    line(&mut text, "  ", "end");
    for look in Look::ALL {
        let nodes = graph.nodes.iter().chain(&graph.legend);
        let ids: Vec<&str> = nodes
            .filter(|node| node.look == look)
            .map(|node| &*node.id)
            .collect();
        if ids.is_empty() {
            continue;
        }
        let paint = look.paint();
        let width = if paint.thick { 4 } else { 2 };
        let dashes = if paint.dashed {
            ",stroke-dasharray:6 3"
        } else {
            ""
        };
        line(
            &mut text,
            "  ",
            &format!(
                "classDef {} fill:{},stroke:{},stroke-width:{width}px,color:#000000{dashes}",
                paint.name, paint.fill, paint.border
            ),
        );
        line(
            &mut text,
            "  ",
            &format!("class {} {}", ids.join(","), paint.name),
        );
    }
    text
}

fn line(text: &mut String, indent: &str, line: &str) {
    text.push_str(indent);
    text.push_str(line);
    text.push('\n');
}

fn of_node(node: &Node) -> String {
    let (open, close) = match node.form {
        Form::End => ("(", ")"),
        Form::Check => ("{{", "}}"),
        Form::Step => ("[", "]"),
        Form::Undo => ("[/", "/]"),
        Form::Pivot => ("[[", "]]"),
        Form::Then => ("([", "])"),
    };
    let lines: Vec<String> = node.lines.iter().map(|line| escaped(line)).collect();
    format!("{}{open}\"{}\"{close}", node.id, lines.join("<br/>"))
}

/// Everything that is not known to be harmless is written as a number: a label is Mermaid, Markdown and HTML at once.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            ' ' | '_' | '-' | '.' | ',' | ':' | '·' => escaped.push(letter),
            letter if letter.is_alphanumeric() => escaped.push(letter),
            letter if letter.is_whitespace() => escaped.push(' '),
            letter if is_invisible(letter) => escaped.push('\u{fffd}'),
            letter => escaped.push_str(&format!("#{};", u32::from(letter))),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_is_a_word_of_the_language() {
        assert_eq!(escaped(r#"a"]; evil["b"#), "a#34;#93;#59; evil#91;#34;b");
        assert_eq!(escaped("a\nb\r\tc"), "a b  c");
        assert_eq!(
            escaped("<b>&amp;`*#35;"),
            "#60;b#62;#38;amp#59;#96;#42;#35;35#59;"
        );
        assert_eq!(escaped("\u{202e}\u{0}x"), "\u{fffd}\u{fffd}x");
        assert_eq!(escaped("überweisung_2"), "überweisung_2");
    }
}
