//! In DOT.

use super::graph::{Form, Graph, Node, is_invisible};

pub(super) fn write(graph: &Graph) -> String {
    let mut text = String::from(
        "digraph saga {\n  rankdir=TB;\n  node [fontname=\"Helvetica\", fontcolor=\"#000000\", margin=\"0.2,0.08\"];\n  edge [fontname=\"Helvetica\", color=\"#404040\"];\n",
    );
    for node in &graph.nodes {
        line(&mut text, "  ", &of_node(node));
    }
    for edge in &graph.edges {
        let how = if edge.fails {
            " [label=\"fails\", style=dashed]"
        } else {
            ""
        };
        line(
            &mut text,
            "  ",
            &format!("{} -> {}{how};", edge.from, edge.to),
        );
    }
    text.push_str("  subgraph cluster_legend {\n    label=\"legend\";\n");
    for node in &graph.legend {
        line(&mut text, "    ", &of_node(node));
    }
    text.push_str("  }\n}\n");
    text
}

fn line(text: &mut String, indent: &str, line: &str) {
    text.push_str(indent);
    text.push_str(line);
    text.push('\n');
}

fn of_node(node: &Node) -> String {
    let (shape, rounded) = match node.form {
        Form::End => ("oval", false),
        Form::Check => ("hexagon", false),
        Form::Step => ("box", false),
        Form::Undo => ("parallelogram", false),
        Form::Pivot => ("doubleoctagon", false),
        Form::Then => ("box", true),
    };
    let paint = node.look.paint();
    let mut style = String::from("filled");
    for (is, word) in [(rounded, ",rounded"), (paint.dashed, ",dashed")] {
        if is {
            style.push_str(word);
        }
    }
    let width = if paint.thick { 3 } else { 1 };
    let lines: Vec<String> = node.lines.iter().map(|line| escaped(line)).collect();
    format!(
        "{} [label=\"{}\", shape={shape}, style=\"{style}\", fillcolor=\"{}\", color=\"{}\", penwidth={width}];",
        node.id,
        lines.join("\\n"),
        paint.fill,
        paint.border
    )
}

/// In double quotes only `"` ends a string; a backslash begins an escape of labels, and `&` an HTML entity.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '&' => escaped.push_str("&amp;"),
            letter if letter.is_whitespace() => escaped.push(' '),
            letter if is_invisible(letter) => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_is_a_word_of_the_language() {
        assert_eq!(escaped(r#"a"]; evil["b"#), r#"a\"]; evil[\"b"#);
        assert_eq!(escaped(r#"a\"#), r#"a\\"#);
        assert_eq!(escaped(r#"\N \" &lt;"#), r#"\\N \\\" &amp;lt;"#);
        assert_eq!(escaped("a\nb\u{0}"), "a b\u{fffd}");
    }
}
