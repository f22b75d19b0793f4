// train_llama --device rehearsal: the program as a user runs it, on devices that only take their time.
#include <sys/resource.h>

#include "tests/programs/mpirun.h"

namespace trine {
namespace {

using nlohmann::json;

class Rehearsal : public ProgramTest {
 protected:
  static constexpr const char* kRehearse =
      "train_llama --model llama2-7b --layers 4 --seq 512 --global-batch 4 --tp 2 --pp 2 --threads 1 --device rehearsal "
      "--cluster rtx4090 ";

  // Steps of metrics.jsonl, behind the header.
  std::vector<json> steps(const std::string& out) const {
    std::vector<json> lines = json_lines(folder_ / out / "metrics.jsonl");
    std::erase_if(lines, [](const json& line) { return !line.contains("step_s"); });
    return lines;
  }
};

TEST_F(Rehearsal, WritesARunFolderWithoutALoss) {
  const Ran ran =
      in_folder(std::string(kRehearse) + "--local-ranks 4 --steps 3 --out out --trace on --log-interval 1");
  ASSERT_EQ(ran.code, 0) << ran.text;
  EXPECT_NE(ran.text.find("| loss - |"), ran.text.npos) << ran.text;
  EXPECT_NE(ran.text.find("RTX 4090, modelled"), ran.text.npos) << ran.text;
  EXPECT_EQ(json_lines(folder_ / "out" / "metrics.jsonl")[0]["rehearsal"], "rtx4090");
  const std::vector<json> lines = steps("out");
  ASSERT_EQ(lines.size(), 3u);
  for (const json& line : lines) {
    EXPECT_TRUE(line["loss"].is_null());
    EXPECT_TRUE(line["grad_norm"].is_null());
    EXPECT_GT(line["mfu"], 0);
    EXPECT_GT(line["compute_s"], 0);
    EXPECT_GT(line["comm_tp_s"], 0);
  }
  const Ran dry = in_folder(
      "train_llama --model llama2-7b --layers 4 --seq 512 --global-batch 4 --tp 2 --pp 2 --threads 1 --ranks 4 "
      "--dry-run --json --cluster rtx4090");
  ASSERT_EQ(dry.code, 0) << dry.text;
  const json mean = json::parse(dry.text)["predicted"]["mean"];
  for (const char* part : {"compute_s", "comm_tp_s", "optimizer_s"})
    EXPECT_NEAR(lines[1][part].get<double>() / mean[part].get<double>(), 1, 0.1) << part;  // on a busy machine
  const Ran report = in_folder("trace_report out --json");
  ASSERT_EQ(report.code, 0) << report.text;
  EXPECT_EQ(json::parse(report.text)["steps"].size(), 3u);
  EXPECT_EQ(json::parse(report.text)["rehearsal"], "rtx4090");
}

TEST_F(Rehearsal, ProcessesSaveManifestsAndGoOn) {
  const std::string rehearse =
      mpirun(4) + kRehearse +
      "--hidden 512 --heads 8 --kv-heads 8 --ffn 1024 --vocab 512 --out out --save-interval 2 --resume auto --valid-fraction 0.1 ";
  const Ran first = in_folder("(" + rehearse + "--steps 3)");
  ASSERT_EQ(first.code, 0) << first.text;
  EXPECT_NE(first.text.find("validation took"), first.text.npos) << first.text;
  const Ran second = in_folder("(" + rehearse + "--steps 5)");
  ASSERT_EQ(second.code, 0) << second.text;
  EXPECT_NE(second.text.find("after step 3"), second.text.npos) << second.text;
  ASSERT_EQ(steps("out").size(), 5u);
  EXPECT_EQ(steps("out").back()["tokens"], 5 * 4 * 512);
  const json manifest = json::parse(read_file(folder_ / "out" / "checkpoints" / "step-000005" / "manifest.json"));
  EXPECT_EQ(manifest["tensors"].size(), 0u);
  // A training does not go on from it.
  prepare();
  const Ran training = in_folder(
      "train_llama --resume out --device cpu --data text-train --steps 6 --out other "
      "--local-ranks 4");
  EXPECT_EQ(training.code, 2) << training.text;
}

TEST_F(Rehearsal, SaysWhatItCannotDo) {
  const Ran large = in_folder(
      "train_llama --model llama2-70b --tp 2 --pp 2 --local-ranks 4 --device rehearsal --cluster rtx4090");
  EXPECT_EQ(large.code, 4) << large.text;
  EXPECT_NE(large.text.find("device.memory_gib=80"), large.text.npos) << large.text;
  EXPECT_NE(large.text.find("workspace of kernels"), large.text.npos) << large.text;
  for (const char* flags :
       {"--load-weights out", "--eval-only", "--comm mpi", "--cluster nowhere", "--slow 9:2", "--slow 0:0.5"}) {
    const Ran ran = in_folder(std::string(kRehearse) + "--local-ranks 4 " + flags);
    EXPECT_EQ(ran.code, 2) << flags << "\n" << ran.text;
  }
  EXPECT_EQ(in_folder("train_llama --device rehearsal").code, 2);
}

TEST_F(Rehearsal, ASlowRankHoldsUpTheOthers) {
  const auto run = [&](const std::string& flags, const std::string& out) {
    const Ran ran = in_folder(std::string(kRehearse) + "--local-ranks 4 --steps 2 --out " + out + flags);
    EXPECT_EQ(ran.code, 0) << ran.text;
    return steps(out).back();
  };
  const json usual = run("", "usual"), slow = run(" --slow 3:3", "slow");
  EXPECT_NEAR(slow["compute_s"].get<double>() / usual["compute_s"].get<double>(), (3 + 1 + 1 + 1) / 4.0, 0.1);
  EXPECT_GT(slow["step_s"].get<double>(), usual["step_s"].get<double>());
}

TEST_F(Rehearsal, GoesFasterAndVaries) {
  const auto compute = [&](const std::string& flags, const std::string& out) {
    const Ran ran = in_folder(std::string(kRehearse) + "--local-ranks 4 --steps 2 --seed 7 --out " + out + flags);
    EXPECT_EQ(ran.code, 0) << ran.text;
    return steps(out).back()["compute_s"].get<double>();
  };
  const double usual = compute("", "usual");
  EXPECT_NEAR(compute(" --speed-up 0.5", "slower") / usual, 2, 0.02);
  EXPECT_EQ(json_lines(folder_ / "slower" / "metrics.jsonl")[0]["speed_up"], 0.5);
  // Each kernel by 30 %, so the sum of hundreds by a few.
  const double varied = compute(" --jitter 0.3", "varied");
  EXPECT_NE(varied, usual);
  EXPECT_NEAR(varied / usual, 1, 0.15);
  const Ran fast = in_folder(std::string(kRehearse) + "--local-ranks 4 --speed-up 1000");
  EXPECT_EQ(fast.code, 2) << fast.text;
  EXPECT_NE(fast.text.find("At most --speed-up"), fast.text.npos) << fast.text;
  EXPECT_EQ(in_folder("train_llama --jitter 0.1").code, 2);
}

// A rank is killed as a card would die: the job ends with the usual message, and the next one goes on behind the newest
// manifest. Nothing of either is left in shared memory.
TEST_F(Rehearsal, AKilledRankEndsTheJobWhichGoesOnBehindItsManifest) {
  const std::string command =
      mpirun(4) + kRehearse +
      "--hidden 512 --heads 8 --kv-heads 8 --ffn 1024 --vocab 512 --global-batch 64 --save-interval 2 --warmup 2 "
      "--resume auto --out " +
      (folder_ / "out").string() + " --steps ";
  int64_t reached = 0;
  {
    Job job(folder_, command + "100000");
    const auto victim = job.stop_at(2, [](const RankStatus& rank) { return rank.step >= 20; });
    ASSERT_TRUE(victim) << job.printed();
    reached = victim->step;
    ::kill(victim->process.pid, SIGKILL);
    const int code = job.wait();
    EXPECT_TRUE(code == 137 || code == 9 || code == 6) << code;
    if (kOpenMpi) {
      EXPECT_EQ(count(job.printed(), "[peer lost] rank 2 "), 1u) << job.printed();
    }
  }
  EXPECT_EQ(num_processes_left("train_llama", folder_), 0u);
  const Ran again = in_folder("(" + command + std::to_string(reached + 3) + ")");
  ASSERT_EQ(again.code, 0) << again.text;
  EXPECT_NE(again.text.find("after step "), again.text.npos) << again.text;
  const std::vector<json> lines = steps("out");
  EXPECT_EQ(lines.back()["step"], reached + 3);
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm"))
    EXPECT_EQ(entry.path().filename().string().find("trine-links"), std::string::npos) << entry.path();
}

// 32 ranks for 50 steps: neither the step nor the process grows.
TEST_F(Rehearsal, ManyRanksAndStepsNeitherDriftNorLeak) {
  const auto peak_kib = [&](const std::string& steps) {
    const Ran ran = in_folder(
        "train_llama --model llama2-7b --layers 16 --seq 512 --global-batch 16 --tp 2 --pp 16 --local-ranks 32 "
        "--threads 1 --device rehearsal --cluster rtx4090 --warmup 2 --log-interval 1 --trace off --out out" +
        steps + " --steps " + steps);
    EXPECT_EQ(ran.code, 0) << ran.text;
    rusage used{};
    ::getrusage(RUSAGE_CHILDREN, &used);
    return used.ru_maxrss;
  };
  const long few = peak_kib("8"), many = peak_kib("50");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they keep what is freed
  EXPECT_LT(many, few + 4096);
#endif
  const std::vector<json> lines = steps("out50");
  ASSERT_EQ(lines.size(), 50u);
  const auto quickest = [&](size_t from) {
    double least = 1e9;
    for (size_t i = from; i < from + 12; ++i) least = std::min(least, lines[i]["step_s"].get<double>());
    return least;
  };
  EXPECT_NEAR(quickest(38) / quickest(1), 1, 0.05);
}

}  // namespace
}  // namespace trine
