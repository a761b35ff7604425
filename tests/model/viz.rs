//! `alpha viz`: Graphviz text as docker compose 2.40 prints it; only the order of lines is chance there.

use crate::harness::Sandbox;

crate::cases!(&[];
    the_picture_is_that_of_docker_compose,
    each_flag_adds_its_part,
    lines_are_indented_as_asked,
);

const PROJECT: &str = "name: planp1\nservices:\n  web: {image: busybox, depends_on: [db], ports: ['18931:80', '127.0.0.1:53:53/udp', '80'], \
                       networks: {front: , back: }}\n  db: {image: busybox, networks: [back]}\n  b: {build: ., networks: [back]}\n  off: {image: busybox, profiles: [p]}\n\
                       networks: {front: , back: }\n";

fn viz(arguments: &[&str]) -> String {
    let hoist = Sandbox::empty();
    hoist.compose(PROJECT);
    let all = [&["alpha", "viz"], arguments].concat();
    let done = hoist.global(&all).ok();
    assert_eq!(done.err, "viz command is EXPERIMENTAL\n");
    done.out
}

fn the_picture_is_that_of_docker_compose() {
    let want = "digraph \"planp1\" {\n\tlayout=dot;\n\
                \t\"web\" [style=\"filled\" label=<<font point-size=\"15\">web</font>>];\n\
                \t\"db\" [style=\"filled\" label=<<font point-size=\"15\">db</font>>];\n\
                \t\"b\" [style=\"filled\" label=<<font point-size=\"15\">b</font>>];\n\n\
                \t\"web\" -> \"db\";\n}\n\n";
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&viz(&[])), sorted(want));
}

fn each_flag_adds_its_part() {
    let all = viz(&["--image", "--networks", "--ports"]);
    let web = "\t\"web\" [style=\"filled\" label=<<font point-size=\"15\">web</font><font point-size=\"10\"><br/><br/><b>Networks:</b><br/>back<br/>\
               front</font><font point-size=\"10\"><br/><br/><b>Ports:</b><br/>18931:80 (tcp, ingress)<br/>127.0.0.1:53:53 (udp, ingress)<br/>:80 (tcp, \
               ingress)</font><font point-size=\"10\"><br/><br/><b>Image:</b><br/>busybox</font>>];\n";
    assert!(all.contains(web), "{all}");
    assert!(
        all.contains("<b>Image:</b><br/>planp1-b</font>>];\n"),
        "{all}"
    );
}

fn lines_are_indented_as_asked() {
    assert!(viz(&["--indentation-size", "0"]).contains("\nlayout=dot;\n"));
    assert!(viz(&["--spaces", "--indentation-size", "3"]).contains("\n   layout=dot;\n"));
    assert!(viz(&["--spaces=false", "--indentation-size=2"]).contains("\n\t\tlayout=dot;\n"));
    Sandbox::empty()
        .global(&["alpha", "viz", "--indentation-size", "x"])
        .code(1)
        .says("x");
}
