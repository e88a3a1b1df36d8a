//! CoreDNS: server blocks of a Corefile, by themselves and in the ConfigMap that AKS reads.

use super::sheet::Sheet;
use super::zones::Outer;
use super::{Material, checks};

/// What one image has that every cluster can pull: nslookup.
const IMAGE: &str = "busybox";

const TWO_BLOCKS: &str = "CoreDNS does not start with two blocks for one zone and port: remove those \
                          that you have for these.";

pub(super) fn write(sheet: &mut Sheet, material: &Material) {
    let outer = Outer::of(material.zones.iter());
    sheet.note(
        "Paste beside the server blocks of your Corefile, or save as a file that it imports. The \
         block with the longest matching zone answers; the port is the one of your other blocks.",
    );
    sheet.note(TWO_BLOCKS);
    if !outer.is_all() {
        sheet.between();
        outer.explain(sheet, "a server block");
    }
    for block in blocks(&outer, material) {
        sheet.gap();
        for line in block {
            sheet.line(line);
        }
    }
    sheet.gap();
    sheet.note("Load: with the reload plugin it is read within a minute, else restart CoreDNS.");
    checks::with_dig(sheet, material, Some("127.0.0.1"));
}

pub(super) fn write_custom(sheet: &mut Sheet, material: &Material) {
    let outer = Outer::of(material.zones.iter());
    sheet.note("Save as privatelinkd.yaml.");
    sheet.note(
        "An AKS cluster has this ConfigMap from the start, and others may have keys in it: a patch \
         leaves those alone, where \"kubectl apply\" takes away what an apply before had and this \
         file has not. The key's name must end in .server.",
    );
    sheet.quote(
        "$ kubectl -n kube-system patch configmap coredns-custom --type merge \
         --patch-file privatelinkd.yaml",
    );
    sheet.quote("$ kubectl -n kube-system rollout restart deployment coredns");
    sheet.note(
        "privatelinkd sees CoreDNS' own address, or its node's where the network plugin \
         translates: [access] allow and the networks of [[site]] must hold that one.",
    );
    sheet.note(TWO_BLOCKS);
    if !outer.is_all() {
        sheet.between();
        outer.explain(sheet, "a server block");
    }
    sheet.gap();
    for line in [
        "apiVersion: v1",
        "kind: ConfigMap",
        "metadata:",
        "  name: coredns-custom",
        "  namespace: kube-system",
        "data:",
        "  privatelinkd.server: |",
    ] {
        sheet.line(line);
    }
    for line in blocks(&outer, material).concat() {
        sheet.line(format_args!("    {line}"));
    }
    sheet.gap();
    if !checks::begin(sheet, material) {
        return;
    }
    sheet.note(&format!(
        "In a pod, with {IMAGE} for any image that has nslookup; the final dot keeps it from \
         asking with each search domain first, as pods do with ndots:5."
    ));
    for check in &material.checks {
        sheet.quote(format_args!(
            "$ kubectl run privatelinkd-check --rm -i --restart=Never --image={IMAGE} -- \
             nslookup -type={} {}.",
            check.rtype, check.name
        ));
        sheet.quote(format_args!("    {}", check.in_words()));
    }
}

/// One block a zone. TTLs count, up to a minute.
fn blocks(outer: &Outer<'_>, material: &Material) -> Vec<Vec<String>> {
    let servers: Vec<String> = material.servers.iter().map(ToString::to_string).collect();
    let several = servers.len() > 1;
    let block = |zone: &&crate::wire::Name| {
        let mut lines = vec![format!("{zone}:53 {{"), "    errors".to_owned()];
        lines.push("    cache 60".to_owned());
        lines.push(format!(
            "    forward . {}{}",
            servers.join(" "),
            if several { " {" } else { "" }
        ));
        if several {
            // One of them at random otherwise.
            lines.push("        policy sequential".to_owned());
            lines.push("    }".to_owned());
        }
        lines.push("}".to_owned());
        lines
    };
    outer.zones.iter().map(block).collect()
}
