# The cold path.
resource "azurerm_storage_account" "lake" {
  name                            = "${local.shortname}lake"
  resource_group_name             = azurerm_resource_group.main.name
  location                        = azurerm_resource_group.main.location
  account_tier                    = "Standard"
  account_replication_type        = "LRS"
  account_kind                    = "StorageV2"
  is_hns_enabled                  = true
  shared_access_key_enabled       = false
  allow_nested_items_to_be_public = false
  min_tls_version                 = "TLS1_2"
}

resource "azurerm_storage_data_lake_gen2_filesystem" "telemetry" {
  name               = "telemetry"
  storage_account_id = azurerm_storage_account.lake.id
}

# What the Functions host keeps its checkpoints in.
resource "azurerm_storage_account" "function" {
  name                            = "${local.shortname}func"
  resource_group_name             = azurerm_resource_group.main.name
  location                        = azurerm_resource_group.main.location
  account_tier                    = "Standard"
  account_replication_type        = "LRS"
  shared_access_key_enabled       = false
  allow_nested_items_to_be_public = false
  min_tls_version                 = "TLS1_2"
}
