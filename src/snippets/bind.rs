//! BIND 9: forward zones, in a file to include.

use super::sheet::Sheet;
use super::zones::Outer;
use super::{Material, checks};

pub(super) fn write(sheet: &mut Sheet, material: &Material) {
    let outer = Outer::of(material.zones.iter());
    let ours = Outer::of(material.zones.iter().filter(|zone| zone.ours));
    sheet.note(
        "Save as /etc/bind/privatelinkd.conf, and include it at the end of named.conf, or in each \
         view where there are views:",
    );
    sheet.quote("include \"/etc/bind/privatelinkd.conf\";");
    sheet.note("named refuses two zones of one name: remove those that you have for these.");
    sheet.between();
    sheet.note(
        "named validates DNSSEC if nobody turned that off, and these answers are made by \
         privatelinkd, unsigned. So write into the options block that you have (it may stand in \
         named.conf once only; BIND 9.14 or later):",
    );
    sheet.quote("validate-except {");
    for zone in &ours.zones {
        sheet.quote(format_args!("    \"{zone}\";"));
    }
    sheet.quote("};");
    sheet.note(
        "If deny-answer-addresses stands there, its except-from needs these zones, too: it would \
         refuse private addresses.",
    );
    if !outer.is_all() {
        sheet.between();
        outer.explain(sheet, "a zone");
    }
    sheet.between();
    sheet.note(
        "forward only: \"first\" would ask the public servers when these are silent, and keep \
         their answer.",
    );
    let servers: Vec<String> = material
        .servers
        .iter()
        .map(|server| format!("{} port {};", server.ip(), server.port()))
        .collect();
    for zone in &outer.zones {
        sheet.gap();
        sheet.line(format_args!("zone \"{zone}\" {{"));
        sheet.line("    type forward;");
        sheet.line("    forward only;");
        sheet.line(format_args!("    forwarders {{ {} }};", servers.join(" ")));
        sheet.line("};");
    }
    sheet.gap();
    sheet.note("Load, and forget the public answers that are kept:");
    sheet.quote("$ named-checkconf && rndc reconfig && rndc flush");
    checks::with_dig(sheet, material, Some("127.0.0.1"));
}
