#include "runtime/training/saver.h"

#include <gtest/gtest.h>

namespace trine {
namespace {

// The run that is looked for from another working folder must find its checkpoints.
TEST(KeptConfig, SaysLastinglyWhereCheckpointsGo) {
  Config config;
  config.save = "saves";
  config.out = "out", config.resume = "auto";
  const auto kept = [&](const char* run) { return kept_config(config, RunFolder(run)); };
  const std::string whole = (std::filesystem::current_path() / "saves").string();
  EXPECT_EQ(kept("runs/a").save, "saves");
  EXPECT_EQ(kept("/runs/a").save, whole);
  EXPECT_EQ(kept("../a").save, whole);
  EXPECT_EQ(kept("runs/a").out, "runs/a");
  EXPECT_FALSE(kept("runs/a").resume);
  config.save.clear();
  EXPECT_EQ(kept("/runs/a").save, "");
}

}  // namespace
}  // namespace trine
