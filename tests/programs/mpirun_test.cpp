// train_llama under mpirun: it trains what local ranks train, bit for bit, and looks the same from outside.
#include "tests/programs/mpirun.h"

#include <gmock/gmock.h>
#include <sched.h>

namespace trine {
namespace {

class UnderMpirun : public ProgramTest {
 protected:
  // Each step's loss and norm.
  using Curve = std::vector<std::pair<double, double>>;
  Curve curve(const std::string& out) const {
    Curve curve;
    for (const auto& line : json_lines(folder_ / out / "metrics.jsonl"))
      if (line.contains("loss")) curve.emplace_back(line["loss"], line["grad_norm"]);
    return curve;
  }
  Curve train(const std::string& command, const std::string& out) const {
    const Ran ran = in_folder(command + "--out " + out);
    EXPECT_EQ(ran.code, 0) << command << "\n" << ran.text;
    // mpirun gives rank 0 a terminal, but this test is none: no bar.
    EXPECT_EQ(ran.text.find('\x1b'), ran.text.npos) << ran.text;
    return curve(out);
  }
  static std::string local(int num_ranks) { return "train_llama --local-ranks " + std::to_string(num_ranks) + " "; }
  static std::string over_mpi(int num_ranks) { return mpirun(num_ranks) + "train_llama "; }
};

// Messages of activations have 4 KiB, or 128 KiB in the long one.
constexpr const char* kModel =
    "--layers 8 --hidden 64 --heads 4 --kv-heads 2 --ffn 64 --seq 32 --global-batch 8 --micro-batch 1 --steps 3 "
    "--threads 1 --data text-train ";
constexpr const char* kLong =
    "--layers 4 --hidden 64 --heads 4 --kv-heads 2 --ffn 64 --seq 256 --global-batch 16 --micro-batch 4 --steps 3 "
    "--threads 1 --data text-train ";
// Open MPI: whatever is longer than this meets its receive before it moves.
constexpr const char* kNoEager = "export OMPI_MCA_btl_vader_eager_limit=1024; ";

struct Layout {
  const char* name;
  int num_ranks;
  std::string flags;
};
const std::vector<Layout>& layouts() {
  static const std::vector<Layout> list = {
      {"tp2", 2, std::string(kModel) + "--tp 2 --sp off "},
      {"dp3_bf16_gradients", 3, std::string(kModel) + "--global-batch 9 --grad-reduce bf16 "},
      {"pp4_1f1b", 4, std::string(kModel) + "--pp 4 "},
      {"pp4_gpipe", 4, std::string(kModel) + "--pp 4 --schedule gpipe "},
      {"pp4_interleaved", 4, std::string(kModel) + "--pp 4 --schedule interleaved --vpp 2 "},
      {"pp4_zero_bubble", 4, std::string(kModel) + "--pp 4 --schedule zero-bubble "},
      {"pp3_tied", 3, std::string(kModel) + "--pp 3 --tie-embeddings on "},
      {"tp2_dp2_zero0", 4, std::string(kModel) + "--tp 2 --zero 0 --dtype f32 "},
      {"tp4_dp2", 8, std::string(kModel) + "--tp 4 "},
      {"tp2_pp2_dp2_recompute", 8, std::string(kModel) + "--tp 2 --pp 2 --recompute full "},
      {"tp2_pp2_interleaved", 4, std::string(kLong) + "--tp 2 --pp 2 --schedule interleaved --vpp 2 "},
      {"pp4_zero_bubble_long", 4, std::string(kLong) + "--pp 4 --schedule zero-bubble "},
  };
  return list;
}

// Twelve layouts in four tests, which run side by side.
class MpiEqualsLocal : public UnderMpirun, public testing::WithParamInterface<size_t> {};
TEST_P(MpiEqualsLocal, BitForBit) {
  prepare();
  for (size_t i = GetParam(); i < layouts().size(); i += 4) {
    const Layout& layout = layouts()[i];
    const Curve expected = train(local(layout.num_ranks) + layout.flags, std::string("local-") + layout.name);
    ASSERT_EQ(expected.size(), 3u) << layout.name;
    EXPECT_LT(expected.back().first, expected.front().first) << layout.name;
    EXPECT_EQ(train(kNoEager + over_mpi(layout.num_ranks) + layout.flags, layout.name), expected) << layout.name;
  }
}
INSTANTIATE_TEST_SUITE_P(Layouts, MpiEqualsLocal, testing::Range<size_t>(0, 4));

TEST_F(UnderMpirun, SixteenRanksTrainTheModelOfOne) {
  prepare();
  const std::string f32 = std::string(kModel) + "--dtype f32 --lr 3e-4 --warmup 3 ";
  const Curve over_mpi_16 = train(over_mpi(16) + f32 + "--tp 2 --pp 8 ", "mpi");
  EXPECT_EQ(over_mpi_16, train(local(16) + f32 + "--tp 2 --pp 8 ", "local"));
  const Curve one = train("train_llama " + f32, "one");
  ASSERT_EQ(one.size(), 3u);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_NEAR(over_mpi_16.at(i).first / one[i].first, 1, 1e-5);
    EXPECT_NEAR(over_mpi_16.at(i).second / one[i].second, 1, 1e-4);
  }
}

TEST_F(UnderMpirun, EveryRankAccountsForItsTime) {
  prepare();
  train(over_mpi(8) + kModel + "--tp 2 --pp 2 --trace on --trace-format json ", "out");
  std::array<char, 256> host{};
  ASSERT_EQ(::gethostname(host.data(), host.size() - 1), 0);
  EXPECT_THAT(read_file(folder_ / "out/log.txt"), testing::HasSubstr(std::string("  all on ") + host.data()));
  for (const auto& line : json_lines(folder_ / "out/metrics.jsonl")) {
    if (!line.contains("loss")) continue;
    double sum = 0;
    for (const char* part : {"compute", "recompute", "comm_tp", "comm_pp", "comm_dp", "wait", "bubble", "optimizer",
                             "data", "host", "checkpoint", "idle"})
      sum += double(line[std::string(part) + "_s"]);
    EXPECT_NEAR(sum / double(line["step_s"]), 1, 1e-6);
    EXPECT_GT(double(line["comm_tp_s"]) + double(line["hidden_comm"]["tp_s"]), 0);
  }
  for (int rank = 0; rank < 8; ++rank) {
    const auto trace =
        nlohmann::json::parse(read_file(folder_ / "out/trace" / ("rank-000" + std::to_string(rank) + ".json")));
    EXPECT_EQ(trace["distributedInfo"]["rank"], rank);
    EXPECT_EQ(trace["distributedInfo"]["world_size"], 8);
    std::map<int, std::string> rows;
    std::set<std::string> used;
    for (const auto& event : trace["traceEvents"]) {
      EXPECT_EQ(event["pid"], rank);
      if (event["name"] == "thread_name") rows[event["tid"]] = event["args"]["name"];
      if (event["ph"] == "X" && event["cat"] == "kernel") {
        const std::string row = rows.at(event["tid"]);  // "pp 2": where two overlap
        used.insert(row.substr(0, row.find(' ')));
      }
    }
    EXPECT_EQ(used, (std::set<std::string>{"compute", "tp", "pp", "dp"})) << "rank " << rank;
  }
}

TEST_F(UnderMpirun, OneRankSpeaksForAll) {
  const Ran mesh = in_folder(over_mpi(3) + "--tp 2");
  EXPECT_EQ(mesh.code, 2) << mesh.text;
  EXPECT_EQ(count(mesh.text, "[mesh] 3 ranks but tp*pp = 2"), 1u) << mesh.text;
  const Ran help = in_folder(over_mpi(2) + "--help");
  EXPECT_EQ(help.code, 0);
  EXPECT_EQ(count(help.text, "--micro-batch-size"), 1u);
  const Ran memory = in_folder(over_mpi(2) + "--tp 2 --print-memory");
  EXPECT_EQ(memory.code, 0);
  EXPECT_EQ(count(memory.text, "total (peak of the arena)"), 1u) << memory.text;
  const Ran data = in_folder(over_mpi(2) + "--data nowhere");
  EXPECT_EQ(data.code, 3);
  EXPECT_EQ(count(data.text, "nowhere: no such file"), 1u) << data.text;
  // Two tasks of srun without --mpi: each would be alone.
  for (const char* program : {"train_llama", "generate_llama --model out"}) {
    const std::string srun =
        "export SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_NODEID=0 SLURM_STEP_TASKS_PER_NODE=2 SLURM_PROCID=";
    const Ran first = in_folder(srun + "0; " + program), second = in_folder(srun + "1; " + program);
    EXPECT_EQ(first.code, 2);
    EXPECT_EQ(second.code, 2);
    EXPECT_THAT(first.text, testing::HasSubstr("[mpi] srun started 2 tasks without PMI"));
    EXPECT_EQ(count(first.text, "\n"), 1u) << first.text;
    EXPECT_THAT(second.text, testing::HasSubstr("unset"));  // no daemon of Slurm is there: it may be alone
  }
}

// The threads that a command chooses for a rank.
TEST_F(UnderMpirun, OnlyMpirunsOwnBindingIsUndone) {
  cpu_set_t all;
  ASSERT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
  std::vector<std::string> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &all)) cores.push_back(std::to_string(core));
  if (cores.size() < 2) GTEST_SKIP() << "needs two cores";
  const auto threads = [&](const std::string& launch) {
    const Ran ran = in_folder(launch + " train_llama --dry-run --json");
    EXPECT_EQ(ran.code, 0) << launch << "\n" << ran.text;
    return nlohmann::json::parse(ran.text.substr(ran.text.find('{')))["config"].value("threads", 0);
  };
  const std::string one_core = "taskset -c " + cores[1] + " ";
  const int own = threads("");
  EXPECT_GE(own, 1);
  EXPECT_LE(own, static_cast<int>(cores.size()));  // a container's quota may leave less
  EXPECT_EQ(threads("exec " + one_core), 1);
  // What srun -n 1 -c 1 leaves: its variables, and a mask.
  EXPECT_EQ(threads("export SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1 SLURM_NODEID=0 "
                    "SLURM_STEP_TASKS_PER_NODE=1 SLURM_CPU_BIND=quiet,mask_cpu:0x2; exec " +
                    one_core),
            1);
  std::string mpi = mpirun(1);
  EXPECT_EQ(threads(mpi), own);
  EXPECT_EQ(threads(mpi + "env A_SCRIPT_BETWEEN=1"), own);
  mpi.insert(mpi.find("exec ") + 5, one_core);
  EXPECT_EQ(threads(mpi), 1);
  EXPECT_EQ(threads(mpirun(1) + (kOpenMpi ? "--bind-to core" : "-bind-to core")), 1);
}

}  // namespace
}  // namespace trine
