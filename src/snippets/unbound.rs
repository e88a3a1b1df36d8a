//! Unbound: forward zones, in a file to include.

use super::sheet::Sheet;
use super::zones::Outer;
use super::{Material, checks};

pub(super) fn write(sheet: &mut Sheet, material: &Material) {
    let outer = Outer::of(material.zones.iter());
    let ours = Outer::of(material.zones.iter().filter(|zone| zone.ours));
    sheet.note(
        "Save as /etc/unbound/unbound.conf.d/privatelinkd.conf, or include it in unbound.conf. \
         qname-minimisation and use-caps-for-id may stay as they are; with the latter, names in \
         answers come in mixed case.",
    );
    sheet.note(
        "Of two forward-zones of one name Unbound keeps the one that it reads first: remove those \
         that you have for these.",
    );
    if !outer.is_all() {
        sheet.between();
        outer.explain(sheet, "a forward-zone, stub-zone or local-zone");
    }
    sheet.between();
    sheet.note(
        "forward-first: \"yes\" would ask the public servers when these are silent, and keep their \
         answer.",
    );
    sheet.gap();
    sheet.line("server:");
    if material.servers.iter().any(|server| server.ip().is_loopback()) {
        sheet.line("    # Without this, no server on this host is ever asked.");
        sheet.line("    do-not-query-localhost: no");
    }
    sheet.line("    # These answers are made by privatelinkd, unsigned: nothing to validate.");
    for zone in &ours.zones {
        sheet.line(format_args!("    domain-insecure: \"{zone}\""));
    }
    sheet.line("    # With private-address set, Unbound strips private addresses but for these.");
    for zone in &ours.zones {
        sheet.line(format_args!("    private-domain: \"{zone}\""));
    }
    for zone in &outer.zones {
        sheet.gap();
        sheet.line("forward-zone:");
        sheet.line(format_args!("    name: \"{zone}\""));
        for server in &material.servers {
            sheet.line(format_args!("    forward-addr: {}@{}", server.ip(), server.port()));
        }
        sheet.line("    forward-first: no");
    }
    sheet.gap();
    sheet.note("Load; this forgets the public answers that are kept, too:");
    sheet.quote("$ unbound-checkconf > /dev/null && unbound-control -q reload");
    checks::with_dig(sheet, material, Some("127.0.0.1"));
}
