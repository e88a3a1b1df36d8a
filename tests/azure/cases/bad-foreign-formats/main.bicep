param location string = 'westeurope'

resource pe 'Microsoft.Network/privateEndpoints@2023-06-01' = {
  name: 'pe-blob'
  location: location
}
