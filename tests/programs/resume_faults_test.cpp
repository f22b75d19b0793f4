// train_llama whose calls on its checkpoints fail, come up short or are its last (fault_injection.cpp): what was
// saved stays, the run goes on from it with the same numbers, and nothing that failed is passed over in silence.
#include <algorithm>
#include <iostream>
#include <random>

#include "tests/programs/resume.h"

namespace trine {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

struct Fault {
  std::string call;
  size_t n;
  std::string action;
  bool for_good = false;

  std::string text() const { return fmt::format("{}:{}:{}{}", call, n, action, for_good ? ":on" : ""); }
  bool kills() const { return action == "kill" || action == "halfway"; }
};

class UnderFaults : public ResumeTest {
 protected:
  // The learning rate does not depend on the last step, so neither do the numbers of a step.
  static constexpr const char* kMicro =
      "train_llama --layers 1 --hidden 16 --heads 2 --kv-heads 1 --ffn 32 --seq 16 --global-batch 2 "
      "--micro-batch 1 --threads 1 --lr-schedule constant --warmup 0 --data text-train ";

  UnderFaults() {
    prepare();
    start("--local-ranks 1 ");
  }
  // Runs with checkpoints of steps 2 and 4 are at hand in `base`; they went to `saves`, a path from here.
  void start(const std::string& ranks, const std::string& saves = "out/checkpoints") {
    ranks_ = ranks, saves_ = saves;
    for (const char* folder : {"whole", "out", "base", "base-saves", "elsewhere"}) fs::remove_all(folder_ / folder);
    expect(kMicro + ranks_ + "--steps 10 --save-interval 2 --out whole", 0);
    const auto begin = std::chrono::steady_clock::now();
    expect(kMicro + ranks_ + "--steps 4 --save-interval 2 --keep 2 --out out" +
               (elsewhere() ? " --save " + saves_ : ""),
           0);
    run_time_ = std::chrono::steady_clock::now() - begin;
    fs::rename(folder_ / "out", folder_ / "base");
    if (elsewhere()) fs::rename(folder_ / saves_, folder_ / "base-saves");
    whole_ = metrics("whole");
  }
  bool elsewhere() const { return saves_ != "out/checkpoints"; }
  void begin_empty() const {
    fs::remove_all(folder_ / "out");
    fs::remove_all(folder_ / saves_);
  }
  void begin() const {
    begin_empty();
    fs::copy(folder_ / "base", folder_ / "out", fs::copy_options::recursive);
    if (elsewhere()) fs::copy(folder_ / "base-saves", folder_ / saves_, fs::copy_options::recursive);
  }
  Ran resume(int64_t last_step, const std::string& environment = "") const {
    return in_folder(
        fmt::format("timeout 60 env {} train_llama --resume --out out --threads 1 --steps {} {}; exit $?",
                    environment, last_step, ranks_));
  }
  std::string preload(const std::string& more, const std::string& in = "") const {
    return "LD_PRELOAD=" TRINE_FAULTS " TRINE_FAULT_IN=" + (in.empty() ? saves_ : in) + " " + more;
  }
  // How often a run to `last_step` makes each call.
  std::map<std::string, size_t> count_calls(int64_t last_step) const {
    begin();
    fs::remove(folder_ / "calls");
    const Ran ran = resume(last_step, preload("TRINE_FAULT_LOG=calls"));
    EXPECT_EQ(ran.code, 0) << ran.text;
    return logged_calls();
  }
  std::map<std::string, size_t> logged_calls() const {
    std::map<std::string, size_t> counts;
    std::ifstream log(folder_ / "calls");
    for (std::string call, path; log >> call >> path;) ++counts[call], ++counts["any"];
    return counts;
  }
  // The step behind the last `words` in what a run printed; 0: none.
  static int64_t last_step_behind(const std::string& words, const std::string& text) {
    const size_t at = text.rfind(words);
    return at == std::string::npos ? 0 : std::stoll(text.substr(at + words.size()));
  }
  int64_t saved_step(const std::string& text) const {
    return last_step_behind("saved  " + saves_ + "/step-", text);
  }

  // A run to `last_step`, again after a failure if `twice`, and then one to step 10 without a fault.
  void check(const Fault& fault, int64_t last_step, bool twice) const {
    SCOPED_TRACE(fault.text());
    begin();
    int64_t at_least = 4;
    for (int attempt = 0; attempt < (twice ? 2 : 1); ++attempt) {
      const Ran ran = resume(last_step, preload("TRINE_FAULT=" + fault.text()));
      at_least = std::max(at_least, saved_step(ran.text));
      if (fault.kills() && ran.code == 137) continue;
      ASSERT_THAT(ran.code, AnyOf(0, 3, 7)) << ran.text;
      expect_said(ran, last_step);
      if (ran.code == 0) at_least = std::max(at_least, last_step);
    }
    const Ran clean = resume(10);
    ASSERT_EQ(clean.code, 0) << clean.text;
    EXPECT_GE(last_step_behind("after step ", clean.text), at_least) << clean.text;
    EXPECT_EQ(metrics("out"), whole_);
    expect_clean_folder();
  }
  // What became of the last save shows in the exit code, and training went on all the same.
  void expect_said(const Ran& ran, int64_t last_step) const {
    const bool trained = ran.text.find("run    out") != std::string::npos;
    if (!trained) {  // it could not read, and changed nothing
      EXPECT_EQ(metrics("out").back().step, 4);
      EXPECT_THAT(ran.text, HasSubstr(ran.code == 7 ? "none of 2 checkpoints is good" : " " + saves_));
      EXPECT_NE(ran.code, 0);
      return;
    }
    EXPECT_EQ(metrics("out").back().step, last_step) << ran.text;
    if (last_step_behind("after step ", ran.text) == last_step) return;  // nothing was left to do
    EXPECT_EQ(saved_step(ran.text) == last_step, ran.code == 0) << ran.text;
    if (ran.code == 0) return;
    EXPECT_EQ(ran.code, 3) << ran.text;
    EXPECT_THAT(ran.text, HasSubstr("the last save failed"));
    EXPECT_THAT(ran.text, HasSubstr("Training goes on; older checkpoints stay."));
  }
  void expect_clean_folder() const {
    expect("checkpoint_tool verify out", 0);
    expect("checkpoint_tool diff whole out", 0);
    size_t num_checkpoints = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / saves_)) {
      const std::string name = entry.path().filename();
      EXPECT_EQ(name.find('.'), std::string::npos) << name;
      num_checkpoints += name.starts_with("step-");
    }
    EXPECT_EQ(num_checkpoints, 2u);
  }
  // `num` of the n-th calls, evenly spread; 0: all.
  static std::vector<size_t> spread(size_t count, size_t num) {
    if (num == 0 || num > count) num = count;
    std::vector<size_t> list;
    for (size_t i = 0; i < num; ++i) list.push_back(1 + i * count / num);
    return list;
  }
  void check_all(const std::string& call, const std::string& action, bool for_good, size_t num, int64_t last_step,
                 bool twice) const {
    const auto counts = count_calls(last_step);
    ASSERT_GE(counts.at(call), 1u);
    for (const size_t n : spread(counts.at(call), num)) {
      check({call, n, action, for_good}, last_step, twice);
      if (HasFailure()) return;  // one is enough to read
      ++num_faults_;
    }
  }
  // A run that begins with --resume auto and is killed, or whose call fails, at some of its calls on `in`, its
  // first save and its run folder among them; started again it is the whole run.
  void check_beginning(const std::string& in, const std::string& action, size_t num) const {
    const std::string command =
        kMicro + ranks_ + "--resume auto --steps 10 --save-interval 2 --keep 2 --out out --save " + saves_;
    const auto train = [&](const std::string& environment) {
      return in_folder("timeout 60 env " + environment + " " + command + "; exit $?");
    };
    begin_empty();
    fs::remove(folder_ / "calls");
    const Ran counted = train(preload("TRINE_FAULT_LOG=calls", in));
    ASSERT_EQ(counted.code, 0) << counted.text;
    const size_t first_save = logged_calls().at("any") / 3;  // and what comes before it, of five saves
    for (const size_t n : spread(first_save, num)) {
      const Fault fault{"any", n, action};
      SCOPED_TRACE(in + " " + fault.text());
      begin_empty();
      const Ran ran = train(preload("TRINE_FAULT=" + fault.text(), in));
      ASSERT_THAT(ran.code, AnyOf(0, 3, 137)) << ran.text;
      const Ran again = train("");
      ASSERT_EQ(again.code, 0) << again.text;
      EXPECT_EQ(metrics("out"), whole_);
      expect_clean_folder();
      EXPECT_FALSE(fs::exists(folder_ / "out-2"));
      ASSERT_FALSE(HasFailure()) << ran.text << again.text;
      ++num_faults_;
    }
  }
  // Runs that save after every step, killed at any moment from their start on.
  void kill_at_random_moments(int times) const {
    std::mt19937_64 random(11);
    std::uniform_real_distribution<double> moment(0, 2);  // of what start-up and two saves take
    begin();
    int64_t at_least = 4;
    for (int i = 0; i < times; ++i) {
      {
        Job job(folder_, "exec " + (kMicro + ranks_) +
                             "--out out --resume auto --steps 1000000000 --save-interval 1 --keep 2");
        std::this_thread::sleep_for(std::chrono::duration<double>(moment(random) * run_time_.count()));
        ::kill(job.pid(), SIGKILL);
        ASSERT_EQ(job.wait(), 137) << job.printed();
        const int64_t resumed = last_step_behind("after step ", job.printed());
        ASSERT_TRUE(resumed == 0 || resumed >= at_least) << job.printed();
        at_least = std::max({at_least, resumed, saved_step(job.printed())});
      }
    }
    ASSERT_GT(at_least, times / 2);
    const Ran last = resume(at_least + 10);
    ASSERT_EQ(last.code, 0) << last.text;
    fs::remove_all(folder_ / "whole");
    expect(kMicro + ranks_ + fmt::format("--steps {} --save-interval {} --out whole", at_least + 10, at_least + 10),
           0);
    EXPECT_EQ(metrics("out"), metrics("whole"));
    expect_clean_folder();
  }

  ~UnderFaults() override { std::cout << num_faults_ << " runs with a fault\n"; }

  std::string ranks_, saves_;
  mutable int num_faults_ = 0;
  std::vector<Line> whole_;
  std::chrono::duration<double> run_time_{0};
};

TEST_F(UnderFaults, KilledAtSomeCalls) {
  check_all("any", "kill", false, 8, 6, false);
  check_all("rename", "kill", false, 0, 6, false);
  check_all("write", "halfway", false, 3, 6, false);
}
TEST_F(UnderFaults, SomeCallsFail) {
  check_all("any", "ENOSPC", true, 4, 8, false);
  check_all("any", "EIO", false, 3, 6, true);
  check_all("list", "EIO", false, 6, 6, false);
  check_all("write", "short", true, 1, 6, false);
}
// --save: the folder's owner and the run folder's config.json decide, too.
TEST_F(UnderFaults, SavesElsewhere) {
  start("--local-ranks 1 ", "elsewhere");
  check_all("any", "kill", false, 4, 6, false);
  check_all("any", "EIO", false, 4, 6, false);
  check_beginning("elsewhere", "kill", 5);
  check_beginning("/out", "kill", 3);
}
TEST_F(UnderFaults, TwoRanks) {
  start("--local-ranks 2 --zero 1 ");
  check_all("any", "kill", false, 4, 6, false);
  check_all("write", "ENOSPC", true, 3, 6, false);
  for (const size_t n : {5, 9}) check({"any", n, "ENOSPC", true}, 6, false);  // one rank reads, the other does not
}
TEST_F(UnderFaults, KilledAtRandomMoments) { kill_at_random_moments(10); }

TEST_F(UnderFaults, LongKilledAtEveryCall) {
  check_all("any", "kill", false, 0, 6, false);
  check_all("write", "halfway", false, 0, 6, true);
}
TEST_F(UnderFaults, LongEveryCallFails) {
  for (const char* error : {"ENOSPC", "EIO"})
    for (const bool for_good : {false, true}) check_all("any", error, for_good, 0, 6, true);
  for (const bool for_good : {false, true}) check_all("write", "short", for_good, 0, 6, false);
}
TEST_F(UnderFaults, LongSavesElsewhere) {
  start("--local-ranks 1 ", "elsewhere");
  check_all("any", "kill", false, 0, 6, false);
  check_all("any", "EIO", false, 0, 6, true);
  for (const char* in : {"elsewhere", "/out"})
    for (const char* action : {"kill", "EIO"}) check_beginning(in, action, 0);
}
TEST_F(UnderFaults, LongTheFirstSave) {
  for (const char* action : {"kill", "EIO"}) check_beginning("out", action, 0);
}
TEST_F(UnderFaults, LongTwoRanks) {
  start("--local-ranks 2 --zero 1 ");
  check_all("any", "kill", false, 60, 6, false);
  for (const bool for_good : {false, true}) check_all("any", "ENOSPC", for_good, 60, 6, true);
}
TEST_F(UnderFaults, LongKilledAtRandomMoments) { kill_at_random_moments(400); }

}  // namespace
}  // namespace trine
