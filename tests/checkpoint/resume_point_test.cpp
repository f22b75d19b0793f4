// What --resume, --save and --out mean together, whatever became of the run folder: good checkpoints are found,
// never begun over, and never another run's.
#include "checkpoint/resume_point.h"

#include <iostream>
#include <sys/wait.h>

#include "base/file_system.h"
#include "checkpoint/save_owner.h"
#include "tests/checkpoint/fault_injection.h"
#include "tests/checkpoint/saved_model.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

namespace fs = std::filesystem;
using namespace testing;

const std::vector<SavedTensor> kTensors = {{"w", {5, 6}, 0}};

class ResumePointTest : public ::testing::Test {
 protected:
  ResumePointTest() { fs::current_path(scratch.path()); }  // where "runs" and relative paths count from
  ~ResumePointTest() override { fs::current_path(before_); }

  // A run's config.json, or its manifests' config.
  static nlohmann::json config(const std::string& out, const std::string& save, int64_t steps) {
    nlohmann::json object = {{"out", out}, {"layers", 1}, {"steps", steps}};
    if (!save.empty()) object["save"] = save;
    return object;
  }
  static void save_step(const std::string& run, const std::string& save, int64_t step) {
    const OwnedSlices mine = owned({}, 0, step, kTensors);
    SaveJob job = job_at(save.empty() ? run + "/checkpoints" : save, step);
    job.config = config(run, save, 7);
    ASSERT_TRUE(save_checkpoint(job, mine.slices).ok);
  }
  // A run with steps 2 and 4, as training leaves it; its config.json has 9 steps, its checkpoints 7.
  static void make_run(const std::string& run, const std::string& save = "") {
    fs::create_directories(run);
    claim(save.empty() ? run + "/checkpoints" : save, run);
    write_file(run + "/config.json", config(run, save, 9).dump());
    for (int64_t step : {2, 4}) save_step(run, save, step);
  }
  static std::optional<ResumePoint> find(const std::string& what, const std::string& out = "",
                                         const std::string& save = "") {
    return find_resume_point({.what = what, .out = out, .save = save, .model = "tiny"});
  }
  // The run goes on in its own folder, with its config.json (9 steps) or a checkpoint's (7).
  static void expect_goes_on(const std::string& what, const std::string& out, const std::string& save,
                             const std::string& run, const std::string& saves, int64_t steps) {
    SCOPED_TRACE(what + ", out " + out + ", save " + save);
    const auto point = find(what, out, save);
    ASSERT_TRUE(point) << "it would begin anew";
    EXPECT_EQ(point->run_folder, run);
    EXPECT_TRUE(same_place(point->saves, saves)) << point->saves;
    EXPECT_EQ(point->config["steps"], steps);
  }
  static void expect_refused(ExitCode code, const std::vector<std::string>& words, const std::string& what,
                             const std::string& out = "", const std::string& save = "") {
    SCOPED_TRACE(what + ", out " + out + ", save " + save);
    expect_error(code, words, [&] { find(what, out, save); });
  }

  ScratchFolder scratch;

 private:
  const fs::path before_ = fs::current_path();
};

TEST_F(ResumePointTest, WhateverBecameOfTheRunFolder) {
  const char* const damaged[] = {"", "{", "[1]", "\"text\"", "{}", "{\"out\": \"run\"}", "\xff\xfe"};
  for (const std::string save : {"", "saves"}) {
    fs::remove_all("run"), fs::remove_all("saves");
    make_run("run", save);
    const std::string saves = save.empty() ? "run/checkpoints" : save;
    for (const char* what : {"auto", "latest"}) {
      expect_goes_on(what, "run", "", "run", saves, 9);
      expect_goes_on(what, "run", save, "run", saves, 9);
      expect_goes_on(what, "run", "elsewhere", "run", saves, 9);  // a new folder is to be begun
      if (!save.empty()) expect_goes_on(what, "", save, "run", saves, 9);
      for (const char* text : damaged) {
        write_file("run/config.json", text);
        expect_goes_on(what, "run", save, "run", saves, 7);
      }
      EXPECT_NE(find(what, "run", save)->warning.find("run/config.json is damaged: the flags are those of"),
                std::string::npos);
      fs::remove("run/config.json");
      expect_goes_on(what, "run", save, "run", saves, 7);
      write_file("run/config.json", config("run", save, 9).dump());
    }
  }
  fs::remove_all("run");  // wiped
  for (const char* what : {"auto", "latest"}) {
    expect_goes_on(what, "run", "saves", "run", "saves", 7);
    expect_goes_on(what, "", "saves", "run", "saves", 7);
  }
}

// Where a damaged config.json leaves it open where the checkpoints are, nothing is begun over them.
TEST_F(ResumePointTest, ADamagedConfigHidesNoCheckpoints) {
  make_run("run", "saves");
  for (const char* text : {"", "{", "[1]"}) {
    write_file("run/config.json", text);
    for (const char* what : {"auto", "latest", "run"})
      expect_refused(ExitCode::kData, {"run/config.json is damaged", "--save"}, what,
                     what == std::string("run") ? "" : "run");
  }
}

TEST_F(ResumePointTest, OnlyUnfinishedSavesMeanBegin) {
  fs::create_directories("run/checkpoints/step-000002.tmp-1");
  write_file("run/config.json", config("run", "", 9).dump());
  EXPECT_FALSE(find("auto", "run"));
  EXPECT_FALSE(find("auto", "run", "saves"));
  EXPECT_FALSE(find("auto", "nowhere"));
  EXPECT_FALSE(find("auto"));
  expect_refused(ExitCode::kNoCheckpoint, {"run has no completed checkpoint"}, "latest", "run");
  expect_refused(ExitCode::kNoCheckpoint, {"run is a run that completed no checkpoint"}, "run");
  expect_refused(ExitCode::kNoCheckpoint, {"nowhere is no folder"}, "nowhere");
  // A committed one, however damaged, is none that may be begun over.
  fs::create_directory("run/checkpoints/step-000002");
  EXPECT_TRUE(find("auto", "run")) << "which then ends with exit code 7";
  fs::remove("run/config.json");
  expect_refused(ExitCode::kNoCheckpoint, {"none of 1 checkpoints is good", "step-000002"}, "auto", "run");
  // Set aside by a save of the same step that was killed before its own had the name.
  fs::rename("run/checkpoints/step-000002", "run/checkpoints/step-000002.old-1");
  expect_refused(ExitCode::kNoCheckpoint, {"step-000002.old-1"}, "auto", "run");
}

TEST_F(ResumePointTest, AnotherRunsCheckpointsAreRefused) {
  make_run("a", "saves");
  make_run("own");
  for (const char* what : {"auto", "latest"}) {
    expect_refused(ExitCode::kConfig, {"[--save] saves is where the run", "/a saves, not b"}, what, "b", "saves");
    expect_refused(ExitCode::kConfig, {"/own saves, not b"}, what, "b", "own/checkpoints");
  }
  // As claimed when training starts, however the folder is called.
  for (const std::string saves : {"saves", "./saves/", "own/checkpoints", "own/../saves"}) {
    expect_error(ExitCode::kConfig, {"each would remove the other's"}, [&] { claim(saves, "b"); });
    expect_error(ExitCode::kConfig, {"holds checkpoints already"}, [&] { check_unused(saves); });
  }
  expect_error(ExitCode::kConfig, {"a/checkpoints"}, [&] { claim("a/checkpoints", "b"); });  // where a might save
  EXPECT_EQ(read_file("saves/owner"), fs::absolute("a").string() + "\n");
  claim("saves", "a/");
  claim("saves", "./a");
  // Before it saved anything, too.
  claim("new", "a");
  expect_error(ExitCode::kConfig, {"each would remove the other's"}, [&] { claim("new", "b"); });
  write_file("new/owner", "");  // damaged: nobody's
  claim("new", "b");
  expect_error(ExitCode::kConfig, {"each would remove the other's"}, [&] { claim("new", "a"); });
  claim("new", "a", true);
  EXPECT_EQ(read_file("new/owner"), fs::absolute("a").string() + "\n");
  // A folder of before there were owners: its newest checkpoint says whose it is.
  fs::remove("saves/owner");
  expect_refused(ExitCode::kConfig, {"where the run a saves, not b"}, "auto", "b", "saves");
  expect_goes_on("auto", "a", "saves", "a", "saves", 9);
}

TEST_F(ResumePointTest, AMovedRunIsTheSame) {
  make_run("a", "saves");
  fs::rename("a", "b");
  expect_goes_on("auto", "b", "", "b", "saves", 9);
  expect_goes_on("auto", "b", "saves", "b", "saves", 9);
  claim("saves", "b");
  EXPECT_EQ(read_file("saves/owner"), fs::absolute("b").string() + "\n");
  // From another folder, relative paths count from where the run was.
  fs::create_directory("work");
  fs::current_path("work");
  fs::rename("../b", "../a");
  for (const char* what : {"auto", "latest"}) expect_goes_on(what, "../a", "", "../a", "../saves", 9);
}

TEST_F(ResumePointTest, CheckpointsByName) {
  make_run("run");
  make_run("other", "saves");
  expect_goes_on("run", "", "", "run", "run/checkpoints", 9);
  expect_goes_on("run/", "", "", "run", "run/checkpoints", 9);
  for (const char* what : {"run/checkpoints/step-000002", "./run/checkpoints/step-000002/"}) {
    expect_goes_on(what, "", "", "run", "run/checkpoints", 9);
    EXPECT_EQ(find(what)->checkpoint.filename(), "step-000002");
  }
  expect_goes_on("run/checkpoints", "", "", "run", "run/checkpoints", 9);
  for (const char* what : {"saves", "saves/step-000004"}) {
    expect_goes_on(what, "", "", "other", "saves", 9);
    expect_goes_on(what, "new", "", "other", "saves", 9);  // a branch: the run folder is not --out
  }
  fs::remove("run/config.json");
  expect_goes_on("run", "", "", "run", "run/checkpoints", 7);
  // Away from its run, and from every run: the configuration is the checkpoint's, the run folder a new one.
  fs::create_directory("backup");
  fs::copy("saves/step-000002", "backup/step-000002", fs::copy_options::recursive);
  fs::copy("saves/step-000002", "backup/copy", fs::copy_options::recursive);
  for (const char* what : {"backup/step-000002", "backup/copy"}) {
    const auto point = find(what, "new");
    ASSERT_TRUE(point);
    EXPECT_EQ(point->run_folder, "");
    EXPECT_EQ(point->config["out"], "other");
    EXPECT_EQ(point->checkpoint, what);
  }
  expect_refused(ExitCode::kNoCheckpoint, {"neither a run folder, a checkpoint nor"}, ".");
  fs::resize_file("backup/step-000002/manifest.json", 10);
  expect_refused(ExitCode::kNoCheckpoint, {"manifest.json"}, "backup/step-000002", "new");
}

TEST_F(ResumePointTest, TheNewestRunThatCompletedACheckpoint) {
  EXPECT_FALSE(find("auto"));
  expect_refused(ExitCode::kNoCheckpoint, {"runs/tiny-* has no completed checkpoint"}, "latest");
  make_run("runs/tiny-20250101-000000");
  make_run("runs/tiny-20250102-000000", "saves");
  fs::create_directories("runs/tiny-20250103-000000/checkpoints/step-000002.tmp-1");
  write_file("runs/tiny-20250103-000000/config.json", config("", "", 9).dump());
  make_run("runs/tiny-other-20250104-000000");
  for (const char* what : {"auto", "latest"}) expect_goes_on(what, "", "", "runs/tiny-20250102-000000", "saves", 9);
}

// One of two runs that start together with the same --save has it.
TEST_F(ResumePointTest, OneOfTwoClaims) {
  for (int round = 0; round < 40; ++round) {
    const std::string saves = fmt::format("saves-{}", round);
    pid_t children[2];
    for (int i = 0; i < 2; ++i) {
      children[i] = ::fork();
      if (children[i] != 0) continue;
      try {
        claim(saves, i == 0 ? "a" : "b");
        ::_exit(0);
      } catch (const ConfigError&) {
        ::_exit(2);
      } catch (...) {
        ::_exit(1);
      }
    }
    int codes[2];
    for (int i = 0; i < 2; ++i) {
      int status = 0;
      ::waitpid(children[i], &status, 0);
      codes[i] = WEXITSTATUS(status);
    }
    ASSERT_EQ(codes[0] + codes[1], 2) << codes[0] << " " << codes[1];
    ASSERT_EQ(read_file(saves + "/owner"), fs::absolute(codes[0] == 0 ? "a" : "b").string() + "\n");
  }
}

// Each call that looks at a file fails in turn, once: the decision is the same or an error of
// the system, never another.
TEST_F(ResumePointTest, FailsAtEveryLook) {
  make_run("run");
  make_run("other", "saves");
  make_run("runs/tiny-20250101-000000");
  make_run("wiped", "wiped-saves");
  fs::remove_all("wiped");
  struct Wish {
    const char *what, *out, *save;
  };
  int failures = 0;
  for (const Wish& wish :
       {Wish{"auto", "run", ""}, Wish{"auto", "other", ""}, Wish{"auto", "other", "saves"},
        Wish{"auto", "wiped", "wiped-saves"}, Wish{"auto", "", "wiped-saves"}, Wish{"auto", "run", "saves"},
        Wish{"auto", "", ""}, Wish{"auto", "nowhere", ""}, Wish{"latest", "other", ""}, Wish{"run", "", ""},
        Wish{"saves", "", ""}, Wish{"saves/step-000002", "", ""}, Wish{"wiped-saves/step-000002", "new", ""}}) {
    const auto decide = [&]() -> std::string {
      try {
        const auto point = find_resume_point({.what = wish.what,
                                              .out = *wish.out ? (scratch / wish.out).string() : "",
                                              .save = *wish.save ? (scratch / wish.save).string() : "",
                                              .model = "tiny"});
        if (!point) return "begins";
        return fmt::format("{} {} {} {}", point->run_folder.string(), point->saves.string(),
                           point->checkpoint.string(), point->config.dump());
      } catch (const IoError& error) {
        EXPECT_NE(std::string(error.what()).find(std::strerror(EIO)), std::string::npos) << error.what();
        return "";
      } catch (const Error& error) {
        return error.what();
      }
    };
    const std::string right = decide();
    ASSERT_NE(right, "");
    for (const Call call : kLooks) {
      for (int n = 1;; ++n, ++failures) {
        arm({call, n, Fault::Action::kFail, EIO});
        const std::string decision = decide();
        const auto calls = disarm();
        if (std::ranges::count(calls, call, &Record::call) < n) break;
        ASSERT_TRUE(decision == "" || decision == right)
            << wish.what << ", out " << wish.out << ", save " << wish.save << ", " << name(call) << " " << n << "\n"
            << decision << "\ninstead of\n"
            << right;
      }
    }
  }
  std::cout << failures << " failing calls\n";
  EXPECT_GT(failures, 150);
}

// As one rank tells the others.
TEST(ResumePointText, IsReadBackAsItWas) {
  const ResumePoint point{.run_folder = "a run",
                          .saves = "saves",
                          .checkpoint = "saves/step-000002",
                          .config = {{"lr", 0.5}, {"out", "x"}},
                          .config_file = "a run/config.json",
                          .warning = "\"quoted\"\n"};
  const auto told = resume_point_of(to_text(point));
  ASSERT_TRUE(told.has_value());
  EXPECT_EQ(told->run_folder, point.run_folder);
  EXPECT_EQ(told->saves, point.saves);
  EXPECT_EQ(told->checkpoint, point.checkpoint);
  EXPECT_EQ(told->config, point.config);
  EXPECT_EQ(told->config_file, point.config_file);
  EXPECT_EQ(told->warning, point.warning);
  EXPECT_FALSE(resume_point_of(to_text(std::nullopt)).has_value());
}

}  // namespace
}  // namespace trine
