# A server: a plain attribute set.
{
  boot.loader.grub.device = "/dev/sda";
  environment = {
    variables.EDITOR = "vi";
  };
}
