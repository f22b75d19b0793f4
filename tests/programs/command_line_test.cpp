// The same command line in all programs: --version, unknown flags, numbers, flags in a file.
#include <gmock/gmock.h>

#include "tests/programs/run.h"

namespace trine {
namespace {

using testing::HasSubstr;

// A program's command, a flag of its that takes an integer, and what it needs besides.
struct Program {
  std::string command, integer, needs;
};

class CommandLines : public ProgramTest {
 protected:
  void expect(const std::string& command, int code, const std::vector<std::string>& words) const {
    const Ran ran = in_folder("timeout 60 " + command);
    EXPECT_EQ(ran.code, code) << command << "\n" << ran.text;
    for (const std::string& word : words) EXPECT_THAT(ran.text, HasSubstr(word)) << command;
  }
  void write(const char* name, const std::string& contents) const { std::ofstream(folder_ / name) << contents; }

  const std::vector<Program> programs_ = {
      {"train_llama", "steps", "--dry-run"},          {"generate_llama", "max-tokens", "--model none"},
      {"checkpoint_tool reshard", "tp", "none gone"}, {"plan_llama failures", "devices", ""},
      {"plan_llama inference", "context", ""},        {"trace_report", "top", "none"},
      {"measure_cluster", "pp", "--out none/m.json"}};
};

TEST_F(CommandLines, SayTheSameOfFlags) {
  write("typo.json", R"({"INTEGERS": 1})");
  write("list.json", "[1]");
  for (const Program& p : programs_) {
    expect(p.command + " --version", 0, {"commit"});
    expect(p.command + " --help", 0, {"--config FILE.json", "flags from a file", "--" + p.integer});
    expect(p.command + " --" + p.integer + "s 1 " + p.needs, 2,
           {"--" + p.integer + "s is not a flag. Did you mean --" + p.integer + "?"});
    expect(p.command + " --" + p.integer + " some " + p.needs, 2,
           {"--" + p.integer, "got 'some' but needs an integer"});
    expect(p.command + " --" + p.integer + " 1.5 " + p.needs, 2, {"got '1.5' but needs an integer"});
    expect(p.command + " --config gone.json " + p.needs, 3, {"gone.json"});
    expect(p.command + " --config list.json " + p.needs, 3, {"[list.json] not a JSON object"});
    write("typo.json", "{\"" + p.integer + "s\": 1}");
    expect(p.command + " --config typo.json " + p.needs, 2,
           {"[typo.json] '" + p.integer + "s' is not a flag. Did you mean " + p.integer + "?"});
    write("wrong.json", "{\"" + p.integer + "\": \"some\"}");
    expect(p.command + " --config wrong.json " + p.needs, 2, {"wrong.json", p.integer, "needs a"});
  }
}

TEST_F(CommandLines, TheFileGivesWhatTheLineDoesNot) {
  write("flags.json", R"({"devices": 1e3, "tokens": 3e12, "json": true, "failures": ["720", "llama3"]})");
  const Ran both = in_folder("plan_llama failures --config flags.json --devices 64");
  const Ran line =
      in_folder("plan_llama failures --devices 64 --tokens 3e12 --json --failures 720 --failures llama3");
  EXPECT_EQ(both.code, 0);
  EXPECT_EQ(both.text, line.text);
  EXPECT_THAT(line.text, HasSubstr("\"tokens\": 3000000000000"));
  EXPECT_EQ(
      in_folder("plan_llama failures --config flags.json").text,
      in_folder("plan_llama failures --devices 1000 --tokens 3e12 --json --failures 720 --failures llama3").text);
  write("flags.json", R"({"json": false})");
  EXPECT_EQ(in_folder("plan_llama failures --config flags.json").text, in_folder("plan_llama failures").text);
}

// In one answer, so that nobody has to run it again for each.
TEST_F(CommandLines, AllProblemsComeAtOnce) {
  write("flags.json", R"({"valid-fraction": "much", "formt": "text"})");
  expect("prepare_data --config flags.json --tokeniser=bytes", 2,
         {"--tokeniser is not a flag", "'formt' is not a flag. Did you mean format?",
          "got 'much' but needs a number", "no TEXT", "no --out"});
}

}  // namespace
}  // namespace trine
