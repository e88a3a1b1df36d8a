//! Every service of the catalogue in every cloud, each pair of its zones, each shape that Azure's names
//! have: what `import` writes of an endpoint passes `check`, is answered with the endpoint's address in
//! both forms, and has no drift from the files that it came from.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use privatelinkd::azure::{self, Extent, Severity};
use privatelinkd::catalog::{self, Role, Service};
use privatelinkd::config;
use privatelinkd::drift::{self, Coverage, Live};
use privatelinkd::upstream::Patience;
use privatelinkd::wire::Rtype;
use privatelinkd::{app, engine::Snapshot};
use serde_json::{Value, json};

use crate::property::{answer, assert_no_label_in_front};
use crate::shapes::{Made, Style};

/// What stands in front of a public zone: one label to four, as Azure's names have them.
const SHAPES: [&str; 4] = ["x1", "x1.westeurope", "x1.scm", "id1.z0a.w.api"];
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 5));
/// Fewer rounds than this, and most of the catalogue was not looked at.
const MIN_ROUNDS: usize = 2_000;

/// The files of one endpoint, in each combination of objects that holds its names.
fn files(made: &Made) -> Vec<(&'static str, Vec<Value>)> {
    let style = Style::Cli;
    vec![
        ("endpoint", vec![made.endpoint(style, true)]),
        ("interface", vec![made.endpoint(style, false), made.interface(style)]),
        ("zone group", vec![made.endpoint(style, false), made.group(style)]),
        (
            "interface and zone group",
            vec![made.endpoint(style, false), made.interface(style), made.group(style)],
        ),
    ]
}

/// A type of the service's resources as ids have it; some rows of Azure's table name the provider alone.
fn target(service: &Service) -> &'static str {
    let same = catalog::services().iter().filter(|other| other.name == service.name);
    let mut types = same.flat_map(|other| other.resource_types.iter().copied());
    types.find(|kind| kind.contains('/')).expect("a whole type")
}

fn made(service: &Service, pair: &catalog::Pair, shape: &str) -> Made {
    let value = |variable: &str| Some(catalog::example_value(variable));
    let zone = |role| pair.filled(role, value).expect("every variable");
    Made {
        name: "hub".to_owned(),
        region: "westeurope".to_owned(),
        target: target(service),
        group: service.group_ids[0],
        public_zone: zone(Role::Public),
        private_zone: zone(Role::Private),
        names: vec![(shape.to_owned(), vec![ADDRESS])],
    }
}

/// The zone around the name that lies deepest, of all services in all clouds.
fn deepest(name: &str) -> Option<String> {
    let places = catalog::places(name).into_iter();
    let zones = places.map(|place| match place.role {
        Role::Public => place.public_zone,
        Role::Private => place.private_zone,
    });
    zones.max_by_key(String::len)
}

/// Reads `objects`, writes the configuration, and compares the answers and the drift.
fn round(made: &Made, objects: &[Value], what: &str) {
    let files = [("all.json".to_owned(), json!(objects).to_string())];
    let inventory = azure::read(&files);
    let severe = inventory.complaints.iter().find(|c| c.severity != Severity::Noted);
    assert!(severe.is_none(), "{what}: {}", severe.expect("one"));
    let fragment = azure::fragment(&inventory, &[], Extent::Whole).expect("no sites");
    assert!(fragment.complaints.is_empty(), "{what}: {:?}", fragment.complaints);
    assert_no_label_in_front(&fragment.text);
    let report = config::read(&fragment.text);
    assert!(report.diagnostics.is_empty(), "{what}: {:#?}\n{}", report.diagnostics, fragment.text);
    let config = report.config.expect("no errors");
    let snapshot: Snapshot = app::build(&config, &config.listen.dns, None).expect("it fits");
    let (shape, _) = &made.names[0];
    for name in [made.public(shape), made.private(shape)] {
        let got = answer(&snapshot, &name, Rtype::A);
        assert!(got.iter().eq([&ADDRESS]), "{what}: {name}: {got:?}\n{}", fragment.text);
    }
    let patience = Patience { each: Duration::from_secs(1), udp_tries: 1 };
    let live = Live { servers: &[], patience, progress: &|_, _| {} };
    let report = drift::compare(&inventory, Coverage::Whole, Some((&config, &snapshot)), &live);
    assert!(report.same, "{what}: {:#?}\n{}", report.findings, fragment.text);
    assert_eq!(report.compared.names, 1, "{what}");
}

#[test]
fn import_check_explain_and_drift_agree_about_every_service() {
    let (mut rounds, mut services, mut deeper) = (0, 0, 0);
    for service in catalog::services() {
        services += 1;
        for pair in service.pairs {
            for shape in SHAPES {
                let made = made(service, pair, shape);
                // The labels in front can be a deeper zone's, as `scm` is in `azurewebsites.net`.
                if deepest(&made.public(shape)).as_ref() != Some(&made.public_zone) {
                    deeper += 1;
                    continue;
                }
                for (kind, objects) in files(&made) {
                    let (name, cloud) = (service.name, service.cloud);
                    let what = format!("{name} ({cloud}), {}, by {kind}", made.public(shape));
                    round(&made, &objects, &what);
                    rounds += 1;
                }
            }
        }
    }
    assert_eq!(services, catalog::services().len());
    assert!(rounds >= MIN_ROUNDS, "only {rounds} rounds");
    assert!(deeper * 10 < rounds, "{deeper} names of {rounds} were left out");
}
