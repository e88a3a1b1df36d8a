//! Which probed zone a name belongs to.

use crate::forward::target::{Mark, PROBED_ZONES, ProbeZones};
use crate::wire::{Name, QName};

#[test]
fn the_deepest_probed_zone_has_the_say() {
    let names = ["example", "private.example"].map(|name| name.parse().unwrap());
    let zones = ProbeZones::new(&names, std::iter::empty());
    for (name, expected) in [
        ("example", Mark::at(0)),
        ("www.example", Mark::at(0)),
        ("private.example", Mark::at(1)),
        ("a.b.private.example", Mark::at(1)),
        ("elsewhere", Mark::NONE),
    ] {
        let name: Name = name.parse().unwrap();
        assert_eq!(zones.covering(&QName::from(&name)), expected, "{name}");
    }
}

#[test]
fn no_more_zones_are_probed_than_there_are_bits() {
    let zones: Vec<Name> = (0..70).map(|zone| format!("z{zone}").parse().unwrap()).collect();
    let zones = ProbeZones::new(&zones, zones.iter().take(1));
    let mut marks: Vec<_> = zones.iter().map(|(mark, _)| mark).collect();
    assert_eq!(marks.len(), PROBED_ZONES);
    marks.dedup();
    assert_eq!(marks.len(), PROBED_ZONES);
    assert!(!marks.contains(&Mark::NONE));
    let beyond: Name = "z69".parse().unwrap();
    assert_eq!(zones.covering(&QName::from(&beyond)), Mark::NONE);
}
