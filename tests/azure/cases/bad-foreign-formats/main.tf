terraform {
}

resource "azurerm_private_endpoint" "pe" {
  name = "pe-blob"
}
