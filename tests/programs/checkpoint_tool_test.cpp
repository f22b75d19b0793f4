// checkpoint_tool as a user meets it: its commands, its exit codes, and that it says what is wrong.
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/programs/run.h"

namespace trine {
namespace {

class CheckpointTool : public ProgramTest {
 protected:
  Ran expect(const std::string& command, int code, std::initializer_list<const char*> words = {}) const {
    const Ran ran = in_folder("timeout 60 checkpoint_tool " + command);
    EXPECT_EQ(ran.code, code) << command << "\n" << ran.text;
    for (const char* word : words) EXPECT_THAT(ran.text, testing::HasSubstr(word)) << command;
    return ran;
  }
  static std::string hf(const char* model) { return std::string(TRINE_TEST_DATA) + "/hf_llama/" + model; }
};

TEST_F(CheckpointTool, CommandsAndFlagsAreChecked) {
  expect("--help", 0, {"ls", "verify", "diff", "reshard", "export-hf", "import-hf"});
  expect("--version", 0);
  expect("", 2, {"no command"});
  expect("list", 2, {"list is no command", "ls"});
  for (const char* command : {"ls", "verify", "diff", "reshard", "export-hf", "import-hf"}) {
    expect(std::string(command) + " --help", 0, {command});
    expect(command, 2, {"is missing"});
    expect(std::string(command) + " nowhere nowhere-else",
           command == std::string("ls") || command == std::string("verify") ? 2 : 3);
  }
  expect("ls nowhere", 3, {"nowhere is no folder"});
  expect("reshard a b --tpp 2", 2, {"--tpp", "--tp"});
  expect("export-hf a b --max-shard 5XB", 2, {"5XB", "5GB"});
}

TEST_F(CheckpointTool, FromHuggingFaceAndBack) {
  expect("import-hf " + hf("gqa_tied_llama3") + " all", 0, {"all/step-000000"});
  expect("import-hf " + hf("gqa_tied_llama3") + " all", 2, {"is there already"});
  expect("export-hf all exported --max-shard 500KB", 0,
         {"exported/model-00001-of-0000", "index.json", "config.json"});
  expect("export-hf all exported", 2, {"not an empty folder"});
  expect("import-hf exported again", 0);
  expect("diff all again", 0, {"config model", "equal"});
  expect("reshard all cut --tp 2 --pp 2 --dp 2", 0, {"tp1 pp1 dp1 -> tp2 pp2 dp2"});
  expect("diff all cut", 0, {"layout tp: 1 and 2", "equal"});
  expect("import-hf " + hf("mha") + " other", 0);
  expect("diff all other", 1, {"only in the first", "different"});
  expect("import-hf all/step-000000 broken", 3, {"config.json"});
}

TEST_F(CheckpointTool, ListsAndVerifiesAsJson) {
  expect("import-hf " + hf("mha") + " all", 0);
  const auto listed = nlohmann::json::parse(expect("ls all --json", 0).text);
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0]["step"], 0);
  EXPECT_EQ(listed[0]["good"], true);
  EXPECT_EQ(listed[0]["layout"]["tp"], 1);
  EXPECT_GT(int64_t(listed[0]["bytes"]), 113'088 * 12);
  EXPECT_EQ(nlohmann::json::parse(expect("verify all --json", 0).text)[0]["problems"].size(), 0u);
  EXPECT_EQ(nlohmann::json::parse(expect("diff all all/step-000000 --json", 0).text)["equal"], true);
  std::filesystem::resize_file(folder_ / "all/step-000000/rank-0000.h5", 1000);
  expect("ls all", 0, {"DAMAGED", "1000 bytes"});
  expect("verify all/step-000000", 3, {"1000 bytes"});
  const auto damaged = nlohmann::json::parse(expect("verify all --json", 7).text);
  EXPECT_EQ(damaged[0]["good"], false);
  expect("export-hf all/step-000000 exported", 3, {"1000 bytes"});
  expect("export-hf all exported", 7, {"none of 1 checkpoints is good"});
}

}  // namespace
}  // namespace trine
