# One environment of the whole solution: devices -> IoT Hub -> Event Hub -> Function -> Cosmos DB and Data Lake, and telemetryd beside it.

data "azurerm_client_config" "current" {}

locals {
  name = "telemetryd-${var.environment}"
  # Names of accounts are unique in all of Azure, and some of them have no hyphens.
  unique    = substr(sha256("${data.azurerm_client_config.current.subscription_id}${var.environment}"), 0, 6)
  shortname = "tlmd${var.environment}${local.unique}"
}

resource "azurerm_resource_group" "main" {
  name     = "rg-${local.name}"
  location = var.location
}

# telemetryd's own, and the pipeline's.
resource "azurerm_user_assigned_identity" "telemetryd" {
  name                = "id-${local.name}"
  resource_group_name = azurerm_resource_group.main.name
  location            = azurerm_resource_group.main.location
}

resource "azurerm_user_assigned_identity" "pipeline" {
  name                = "id-${local.name}-pipeline"
  resource_group_name = azurerm_resource_group.main.name
  location            = azurerm_resource_group.main.location
}
