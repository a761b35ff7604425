//! `graph`: the project as text, Mermaid, DOT and SVG.

use crate::harness::Sandbox;

crate::cases!(&[];
    the_graph_shows_services_networks_and_volumes_in_every_format,
    a_graph_of_some_services_leaves_out_the_rest,
    the_graph_goes_to_a_file,
    the_same_project_gives_the_same_picture,
    names_of_the_file_cannot_break_out_of_the_picture,
);

const PROJECT: &str = "services:\n  web: {image: w, depends_on: {db: {condition: service_healthy}}, networks: [front, back], ports: \
                       ['8080:80']}\n  db: {image: d, networks: [back], volumes: ['data:/data']}\n  lone: {image: l, networks: [front]}\n\
                       networks: {front: , back: }\nvolumes: {data: }\n";

fn graph(hoist: &Sandbox, format: &str) -> String {
    hoist
        .global(&["-p", "demo", "graph", "--format", format])
        .ok()
        .out
}

fn the_graph_shows_services_networks_and_volumes_in_every_format() {
    let hoist = Sandbox::empty();
    hoist.compose(PROJECT);
    for (format, mark) in [
        ("text", "web"),
        ("mermaid", "flowchart"),
        ("dot", "digraph"),
        ("svg", "<svg"),
    ] {
        let text = graph(&hoist, format);
        assert!(text.contains(mark), "{format}: {text}");
        for name in ["web", "db", "lone", "front", "back", "data"] {
            assert!(text.contains(name), "{format} lacks {name}: {text}");
        }
    }
    hoist
        .global(&["graph", "--format", "jpeg"])
        .code(1)
        .says("jpeg")
        .says("mermaid");
}

fn a_graph_of_some_services_leaves_out_the_rest() {
    let hoist = Sandbox::empty();
    hoist.compose(PROJECT);
    let text = hoist.global(&["graph", "db"]).ok().out;
    assert!(text.contains("db") && !text.contains("lone"), "{text}");
}

fn the_graph_goes_to_a_file() {
    let hoist = Sandbox::empty();
    hoist.compose(PROJECT);
    hoist
        .global(&["graph", "--format", "svg", "-o", "picture.svg"])
        .ok();
    let text =
        std::fs::read_to_string(hoist.dir().join("picture.svg")).expect("the file is written");
    assert!(text.trim_end().ends_with("</svg>"), "{text}");
}

fn the_same_project_gives_the_same_picture() {
    let hoist = Sandbox::empty();
    hoist.compose(PROJECT);
    for format in ["text", "mermaid", "dot", "svg"] {
        assert_eq!(graph(&hoist, format), graph(&hoist, format), "{format}");
    }
}

fn names_of_the_file_cannot_break_out_of_the_picture() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a: {image: '</text><script>x</script>', volumes: ['/h:/c']}\n");
    let text = graph(&hoist, "svg");
    assert!(!text.contains("<script>"), "{text}");
}
