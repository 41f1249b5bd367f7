{
  lib,
  newScope,
  python3,
  llamaVersion ? "0.0.0",
}:
lib.makeScope newScope (self: {
  inherit llamaVersion python3;
  llama-cpp = self.callPackage ./package.nix { };
})
