//! systemd-resolved: routing domains, in a drop-in.

use std::net::SocketAddr;

use super::sheet::Sheet;
use super::zones::Outer;
use super::{Material, PORT, checks};

/// Where systemd-resolved's stub listens.
const STUB: &str = "127.0.0.53";

pub(super) fn write(sheet: &mut Sheet, material: &Material) {
    let outer = Outer::of(material.zones.iter());
    let ours = Outer::of(material.zones.iter().filter(|zone| zone.ours));
    sheet.note("Save as /etc/systemd/resolved.conf.d/privatelinkd.conf.");
    sheet.between();
    sheet.note(
        "Names in Domains= go to these servers alone. All other names go to them, too, beside the \
         servers of each link that is a default route (\"resolvectl status\"), and the first good \
         answer counts; and with DNS= here, servers in /etc/resolv.conf are no longer read. So \
         privatelinkd needs a [[forward]] for \".\" that answers as those servers do.",
    );
    sheet.note(
        "systemd 258 and later can keep other names away from it: write these lines into \
         /etc/systemd/dns-delegate.d/privatelinkd.dns-delegate, with [Delegate] in place of \
         [Resolve].",
    );
    sheet.between();
    sheet.note(
        "Where DNSSEC= is on (\"resolvectl status\"; most distributions leave it off), also with \
         allow-downgrade, these lines belong into \
         /etc/dnssec-trust-anchors.d/privatelinkd.negative: these answers are made by \
         privatelinkd, unsigned. The first file there replaces the built-in list (10.in-addr.arpa, \
         home.arpa and more): add what you need of it.",
    );
    for zone in &ours.zones {
        sheet.quote(zone);
    }
    if !outer.is_all() {
        sheet.between();
        outer.explain(sheet, "a routing domain of a link");
    }
    sheet.gap();
    sheet.line("[Resolve]");
    for server in &material.servers {
        sheet.line(format_args!("DNS={}", in_its_syntax(*server)));
    }
    for zone in &outer.zones {
        sheet.line(format_args!("Domains=~{zone}"));
    }
    sheet.gap();
    if material.servers.iter().any(|server| server.port() != PORT) {
        sheet.note("A port in DNS= needs systemd 246 or later.");
    }
    sheet.note(&format!(
        "Load. /etc/resolv.conf must lead to {STUB}, or /etc/nsswitch.conf to \"resolve\":"
    ));
    sheet.quote("$ systemctl restart systemd-resolved && resolvectl flush-caches");
    checks::with_dig(sheet, material, Some(STUB));
}

fn in_its_syntax(server: SocketAddr) -> String {
    if server.port() == PORT { server.ip().to_string() } else { server.to_string() }
}
