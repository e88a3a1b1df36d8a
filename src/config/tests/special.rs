//! `[special]`.

use super::{E, FORWARD, LISTEN, W, check, config, rest};

#[test]
fn special_takes_two_lists_of_special_zones() {
    check([
        rest("[special]", &[]),
        rest("[special]\nforward = ['.', 'in-addr.arpa', 'x.local']\nanswer = ['test']", &[]),
        rest(
            "[special]\nforward = ['example', 'corp.example']",
            &[
                (W, 7, "special.forward", "no effect: this is no special zone"),
                (W, 7, "special.forward", "no effect: this is no special zone"),
            ],
        ),
        rest(
            "[special]\nforward = ['local']\nanswer = ['LOCAL']",
            &[(E, 8, "special.answer", "forward has this zone too (line 7)")],
        ),
        rest(
            "[special]\nanswer = ['local']\n[[forward]]\nzones = ['local']\n\
             upstreams = ['10.0.0.5']",
            &[(W, 7, "special.answer", "no effect: a forward rule has this zone (line 9)")],
        ),
        rest("[special]\nforward = ['*.local']", &[(E, 7, "special.forward", "without \"*.\"")]),
        rest("[special]\nforwards = []", &[(E, 7, "special.forwards", "unknown key")]),
    ]);
    let many: Vec<_> = (0..1_001).map(|n| format!("'{n}.local'")).collect();
    let many = format!("[special]\nforward = [{}]", many.join(","));
    check([rest(&many, &[(E, 7, "special.forward", "1001 entries; at most 1000")])]);
}

#[test]
fn without_the_section_both_lists_are_empty() {
    let config = config(&format!("{LISTEN}{FORWARD}[special]\nforward = ['Local.']"));
    assert_eq!(config.special.forward, ["local".parse().expect("a name")]);
    assert!(config.special.answer.is_empty());
}
