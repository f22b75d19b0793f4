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

// As a shell makes them of a variable that is not set.
TEST_F(CommandLines, EmptyValuesAreRefused) {
  for (const Program& p : programs_) {
    const std::string flag = "--" + p.integer, says = flag + " has an empty value";
    expect(p.command + " " + flag + " \"\" " + p.needs, 2, {says, "It needs "});
    expect(p.command + " " + flag + "= " + p.needs, 2, {says});
    expect(p.command + " --config \"\" " + p.needs, 2, {"--config has an empty value", "FILE.json"});
  }
  for (const char* command :
       {"plan_llama --devices 2 --model \"\"", "plan_llama --cluster= --devices 2",
        "plan_llama --devices 2 --fix \"\"", "train_llama --dry-run --num-layers \"\"",
        "train_llama --dry-run --data text \"\"", "train_llama --resume= --dry-run",
        "train_llama --dry-run --load-weights \"\"", "train_llama --dry-run --rotary-base \"\"",
        "trace_report --html \"\" run", "plan_llama inference --split \"\"", "plan_llama failures --failures \"\"",
        "prepare_data text --out \"\"", "checkpoint_tool export-hf run to --max-shard \"\"",
        "generate_llama --model \"\"", "generate_llama --model none --prompt \"\""})
    expect(command, 2, {" has an empty value: is it a shell variable that is not set?"});
  for (const char* command : {"trace_report \"\"", "plan_llama clusters \"\"", "prepare_data \"\" --out data",
                              "checkpoint_tool ls \"\"", "train_llama \"\" --dry-run"})
    expect(command, 2, {"an argument is empty"});
  expect("trace_report --top 3 \"\"", 2, {"an argument after --top is empty"});
  expect("plan_llama failures --json=", 2, {"--json= has an empty value, and takes none"});
  expect("plan_llama --modle \"\" --devices 2", 2, {"--modle is not a flag. Did you mean --model?"});
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
