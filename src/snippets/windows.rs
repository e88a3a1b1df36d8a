//! Windows DNS Server: conditional forwarders, as PowerShell.

use super::sheet::Sheet;
use super::target::WINDOWS_PATIENCE;
use super::{Material, checks};

pub(super) fn write(sheet: &mut Sheet, material: &Material) {
    sheet.note(
        "Run as administrator on each DNS server that your clients ask (module DnsServer). It may \
         be run again: what is there is changed, not doubled.",
    );
    sheet.between();
    sheet.note(
        "The forwarders are kept on this server, not in Active Directory. With -ReplicationScope \
         they would reach every domain controller, those in Azure virtual networks included: these \
         must go on asking 168.63.129.16, and would ask across the tunnel instead for what Azure \
         tells them next door. Where no domain controller stands in Azure, one run serves all with",
    );
    sheet.quote(
        "Add-DnsServerConditionalForwarderZone -Name ZONE -MasterServers $servers \
         -ForwarderTimeout 2 -ReplicationScope Domain",
    );
    sheet.note(
        "Every zone is here, also one inside another: one that exists already, say for \
         privatelink names, would win over the zone around it.",
    );
    sheet.note(
        "-UseRecursion $false: when privatelinkd is silent, fail, rather than ask the root's \
         servers and keep a public address. Names outside these zones that lead into them have the \
         same trouble; for them: Set-DnsServerForwarder -UseRootHint $false",
    );
    sheet.note(
        "Windows has no exceptions from DNSSEC validation; it validates below its trust points \
         alone, so none may stand above these zones (Get-DnsServerTrustPoint).",
    );
    if material.servers.len() > 1 {
        sheet.note(
            "The second server is asked when the first has been silent for the time-out; with \
             Windows' own one, that is after about 5.5 s.",
        );
    }
    sheet.gap();
    script(sheet, material);
    sheet.gap();
    if !checks::begin(sheet, material) {
        return;
    }
    sheet.note("privatelinkd is reached from here:");
    for (server, check) in material.servers.iter().zip(material.checks.iter().cycle()) {
        resolve(sheet, &server.ip().to_string(), check);
    }
    sheet
        .note("The DNS server asks it (on a client: without -Server, after Clear-DnsClientCache):");
    for check in &material.checks {
        resolve(sheet, "127.0.0.1", check);
    }
}

/// No `else`: PowerShell's prompt, where this is pasted, takes a line that begins so for a command.
fn script(sheet: &mut Sheet, material: &Material) {
    let quoted = |text: String| format!("'{text}'");
    let servers: Vec<String> =
        material.servers.iter().map(|server| quoted(server.ip().to_string())).collect();
    let seconds = WINDOWS_PATIENCE.as_secs();
    sheet.line(format_args!("$servers = @({})", servers.join(", ")));
    sheet.line("$zones = @(");
    for zone in &material.zones {
        sheet.line(format_args!("    {}", quoted(zone.name.to_string())));
    }
    sheet.line(")");
    for line in [
        "$known = @(Get-DnsServerZone -ErrorAction Stop)",
        "foreach ($zone in $zones) {",
        "    $old = $known | Where-Object { $_.ZoneName -eq $zone }",
        "    if ($old -and ($old.ZoneType -ne 'Forwarder' -or $old.IsDsIntegrated)) {",
        "        Write-Warning \"$zone exists ($($old.ZoneType), in Active Directory: \
         $($old.IsDsIntegrated)) and is left as it is. It answers in privatelinkd's place: remove \
         it (Remove-DnsServerZone -Name $zone), and run this again.\"",
        "        continue",
        "    }",
        "    if (-not $old) {",
    ] {
        sheet.line(line);
    }
    sheet.line(format_args!(
        "        Add-DnsServerConditionalForwarderZone -Name $zone -MasterServers $servers \
         -ForwarderTimeout {seconds} -ErrorAction Stop"
    ));
    sheet.line("    }");
    sheet.line(format_args!(
        "    Set-DnsServerConditionalForwarderZone -Name $zone -MasterServers $servers \
         -ForwarderTimeout {seconds} -UseRecursion $false -ErrorAction Stop"
    ));
    sheet.line("}");
    sheet.line("# Public answers that are kept would go on being given.");
    sheet.line("Clear-DnsServerCache -Force");
}

fn resolve(sheet: &mut Sheet, server: &str, check: &checks::Check) {
    let checks::Check { name, rtype, .. } = check;
    sheet.quote(format_args!(
        "Resolve-DnsName -Name {name} -Type {rtype} -Server {server} -DnsOnly"
    ));
    sheet.quote(format_args!("    {}", check.in_words()));
}
