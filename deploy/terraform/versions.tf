terraform {
  required_version = ">= 1.9"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.40"
    }
  }
}

provider "azurerm" {
  # Storage is reached with the caller's own identity: the accounts have no keys that work.
  storage_use_azuread = true
  features {}
}
