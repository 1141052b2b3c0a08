variable "greeting" { type = string }

resource "terraform_data" "shop" {
  input = var.greeting
}

output "greeting" {
  value = terraform_data.shop.output
}
