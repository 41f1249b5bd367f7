{ pkgs, ... }: {
  home.packages = with pkgs; [
    hello
    llama-cpp # to talk to
  ];
}
