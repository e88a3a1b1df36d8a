# Windows DNS Server asks privatelinkd. Made by "privatelinkd snippet windows": make it anew when
# its zones or addresses change.
# WARNING: the endpoints have sites, and the expected answers are those of 127.0.0.1; write --client
# with the asking resolver's address, whose site it is that counts.
#
# Run as administrator on each DNS server that your clients ask (module DnsServer). It may be run
# again: what is there is changed, not doubled.
#
# The forwarders are kept on this server, not in Active Directory. With -ReplicationScope they would
# reach every domain controller, those in Azure virtual networks included: these must go on asking
# 168.63.129.16, and would ask across the tunnel instead for what Azure tells them next door. Where
# no domain controller stands in Azure, one run serves all with
#   Add-DnsServerConditionalForwarderZone -Name ZONE -MasterServers $servers -ForwarderTimeout 2 -ReplicationScope Domain
# Every zone is here, also one inside another: one that exists already, say for privatelink names,
# would win over the zone around it.
# -UseRecursion $false: when privatelinkd is silent, fail, rather than ask the root's servers and
# keep a public address. Names outside these zones that lead into them have the same trouble; for
# them: Set-DnsServerForwarder -UseRootHint $false
# Windows has no exceptions from DNSSEC validation; it validates below its trust points alone, so
# none may stand above these zones (Get-DnsServerTrustPoint).

$servers = @('10.0.0.4')
$zones = @(
    'cloud.defender.microsoft.com'
    'privatelink.cloud.defender.microsoft.com'
    'vault.azure.net'
    'privatelink.vaultcore.azure.net'
    'database.windows.net'
    'privatelink.database.windows.net'
)
$known = @(Get-DnsServerZone -ErrorAction Stop)
foreach ($zone in $zones) {
    $old = $known | Where-Object { $_.ZoneName -eq $zone }
    if ($old -and ($old.ZoneType -ne 'Forwarder' -or $old.IsDsIntegrated)) {
        Write-Warning "$zone exists ($($old.ZoneType), in Active Directory: $($old.IsDsIntegrated)) and is left as it is. It answers in privatelinkd's place: remove it (Remove-DnsServerZone -Name $zone), and run this again."
        continue
    }
    if (-not $old) {
        Add-DnsServerConditionalForwarderZone -Name $zone -MasterServers $servers -ForwarderTimeout 2 -ErrorAction Stop
    }
    Set-DnsServerConditionalForwarderZone -Name $zone -MasterServers $servers -ForwarderTimeout 2 -UseRecursion $false -ErrorAction Stop
}
# Public answers that are kept would go on being given.
Clear-DnsServerCache -Force

# Verify, with the expected answer below each command (as privatelinkd answers 127.0.0.1, addresses
# in any order).
# privatelinkd is reached from here:
#   Resolve-DnsName -Name api.cloud.defender.microsoft.com -Type A -Server 10.0.0.4 -DnsOnly
#       api.privatelink.cloud.defender.microsoft.com, 10.1.0.5
# The DNS server asks it (on a client: without -Server, after Clear-DnsClientCache):
#   Resolve-DnsName -Name api.cloud.defender.microsoft.com -Type A -Server 127.0.0.1 -DnsOnly
#       api.privatelink.cloud.defender.microsoft.com, 10.1.0.5
#   Resolve-DnsName -Name api.privatelink.cloud.defender.microsoft.com -Type A -Server 127.0.0.1 -DnsOnly
#       10.1.0.5
#   Resolve-DnsName -Name api.cloud.defender.microsoft.com -Type AAAA -Server 127.0.0.1 -DnsOnly
#       api.privatelink.cloud.defender.microsoft.com, no AAAA record, and no error
#   Resolve-DnsName -Name known.vault.azure.net -Type A -Server 127.0.0.1 -DnsOnly
#       known.privatelink.vaultcore.azure.net, 10.1.0.8, 10.1.0.9
#   Resolve-DnsName -Name mine.database.windows.net -Type AAAA -Server 127.0.0.1 -DnsOnly
#       mine.privatelink.database.windows.net, fd00::7
