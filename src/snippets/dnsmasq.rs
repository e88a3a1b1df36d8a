//! dnsmasq: servers by domain, in a file to include.

use super::sheet::Sheet;
use super::zones::Outer;
use super::{Material, checks};

pub(super) fn write(sheet: &mut Sheet, material: &Material) {
    let outer = Outer::of(material.zones.iter());
    sheet.note(
        "Save as /etc/dnsmasq.d/privatelinkd.conf (conf-dir must name that folder, as Debian's \
         package has it).",
    );
    sheet.note(
        "Of several server= lines for one name dnsmasq takes whichever answers: remove those that \
         you have for these.",
    );
    sheet.note(
        "DNSSEC needs nothing here: dnsmasq does not validate what has a server of its own, unless \
         a trust-anchor stands for it.",
    );
    if !outer.is_all() {
        sheet.between();
        outer.explain(sheet, "a server=, local= or address= line");
    }
    sheet.gap();
    for zone in &outer.zones {
        for server in &material.servers {
            sheet.line(format_args!("server=/{zone}/{}#{}", server.ip(), server.port()));
        }
    }
    sheet.gap();
    sheet.note("With stop-dns-rebind, dnsmasq refuses private addresses but for these.");
    for zone in &outer.zones {
        sheet.line(format_args!("rebind-domain-ok=/{zone}/"));
    }
    sheet.gap();
    sheet.note(
        "Load. SIGHUP does not read this file; a restart does, and forgets the public answers that \
         are kept:",
    );
    sheet.quote("$ dnsmasq --test && systemctl restart dnsmasq");
    checks::with_dig(sheet, material, Some("127.0.0.1"));
}
