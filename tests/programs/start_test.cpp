// How runs of several ranks begin: what only some ranks find wrong, or find different, is told once and ends all;
// and a rank that is stopped or killed, from its first instruction to its last, is not waited for for ever.
#include <fmt/core.h>
#include <gmock/gmock.h>

#include "tests/programs/mpirun.h"
#include "tests/test_data.h"

namespace trine {
namespace {

using testing::HasSubstr;

class StartUp : public ProgramTest {
 protected:
  StartUp() { prepare(); }

  // A shell that gives each rank flags of its own: "$R" is the rank.
  static std::string on_each(int num_ranks, const std::string& command) {
    return mpirun(num_ranks) + "bash -c \"R=\\${OMPI_COMM_WORLD_RANK:-\\$PMI_RANK}; exec " + command + "\"";
  }
  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_ / name) << text; }
  void expect(const std::string& command, int code, std::initializer_list<const char*> texts) const {
    Job job(folder_, command);
    EXPECT_EQ(job.wait(), code) << command << "\n" << job.printed();
    for (const char* text : texts) EXPECT_EQ(count(job.printed(), text), 1u) << text << " in\n" << job.printed();
    for (const char* other : {"[hang]", "[peer lost]", "[comm]", "bug in Trine"})
      EXPECT_EQ(count(job.printed(), other), 0u) << job.printed();
    EXPECT_FALSE(std::filesystem::exists(folder_ / "out")) << "the run did not begin";
  }
};

TEST_F(StartUp, WhatOneRankAloneFindsWrongEndsAll) {
  for (const char* rank : {"0", "1", "3"}) write(std::string(rank) + ".json", "{\"lr\": 0.001}");
  expect(on_each(4, std::string(kSmall) + "--tp 2 --config \\$R.json"), 3,
         {"[file] 2.json: open failed", "(Only rank 2 of 4 found this"});
  std::filesystem::create_symlink("text-train.bin", folder_ / "0.bin");
  std::filesystem::create_symlink("text-train.idx", folder_ / "0.idx");
  expect(on_each(2, std::string(kSmall) + "--tp 2 --data \\$R"), 3,
         {"[data] 1: no such file", "(Only rank 1 of 2"});
  std::filesystem::copy(test_data() + "/hf_llama/deep", folder_ / "0", std::filesystem::copy_options::recursive);
  expect(on_each(2, "generate_llama --tp 2 --prompt-ids 1,2 --print-ids --model \\$R"), 3,
         {"[--model] 1 is no folder", "(Only rank 1 of 2"});
}

TEST_F(StartUp, RanksThatMeanDifferentRunsAreRefused) {
  write("0.json", "{\"lr\": 0.001, \"min-lr\": 0}");
  write("1.json", "{\"lr\": 0.002, \"min-lr\": 0, \"seed\": 7}");
  expect(
      on_each(4, std::string(kSmall) + "--tp 2 --config \\$((R / 2)).json"), 2,
      {"[ranks] --lr is 0.001 on ranks 0 and 1, 0.002 on ranks 2 and 3.\n",
       "[ranks] --seed is 1234 on ranks 0 and 1, 7 on ranks 2 and 3.\n", "All ranks of a run must mean the same"});
  // Another text of the same length under the same name.
  std::string other = read_file(folder_ / "text.txt");
  other[100] = other[100] == 'x' ? 'y' : 'x';
  write("other.txt", other);
  ASSERT_EQ(in_folder("mkdir 0 1; prepare_data text.txt --out 0/text; prepare_data other.txt --out 1/text").code,
            0);
  expect(on_each(2, std::string(kSmall) + "--tp 2 --data \\$R/text-train"), 2,
         {"[ranks] the training data is ", " on rank 1.\n"});
  std::filesystem::copy(test_data() + "/hf_llama/deep", folder_ / "0/model",
                        std::filesystem::copy_options::recursive);
  std::filesystem::copy(test_data() + "/hf_llama/mha", folder_ / "1/model",
                        std::filesystem::copy_options::recursive);
  expect(on_each(2, "generate_llama --tp 2 --prompt-ids 1,2 --print-ids --model \\$R/model"), 2,
         {"[ranks] the weight of the last norm (a hash) is "});
}

TEST_F(StartUp, ThreadsWithinALaunchersRanksAreRefused) {
  expect(mpirun(2) + kSmall + "--tp 4 --local-ranks 2", 2, {"--local-ranks 2 within 2 ranks of a launcher"});
}

#if !defined(__SANITIZE_ADDRESS__)  // whose shadow memory needs the whole address space
TEST_F(StartUp, OneRankWithoutMemoryEndsAll) {
  expect(mpirun(2) + "bash -c \"[ \\${OMPI_COMM_WORLD_RANK:-\\$PMI_RANK} = 0 ] || ulimit -v 800000; exec " +
             kSmall + "--hidden 512 --vocab 80000 --tp 2\"",
         4, {"refuses", "(Only rank 1 of 2"});
}
#endif

// Variables that a launcher left behind: nobody ends without a word.
TEST_F(StartUp, LeftOverVariablesAreNamed) {
  for (const char* command : {"train_llama --data text-train --out out", "generate_llama --model out --prompt x"})
    for (const char* variables :
         {"PMI_RANK=2 PMI_SIZE=4", "PMI_RANK=0 PMI_SIZE=4", "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2"}) {
      const Ran ran = in_folder(std::string("timeout 60 env ") + variables + " " + command);
      EXPECT_EQ(ran.code, 2) << variables << " " << command << "\n" << ran.text;
      const std::string size = std::string(variables).substr(std::string(variables).find(' ') + 1);
      EXPECT_THAT(ran.text, HasSubstr(size)) << command;
      EXPECT_THAT(ran.text, HasSubstr("unset"));
    }
}

// What a rank was about to do when it was harmed, in the order of a run.
struct Moment {
  const char* call;  // as fault_injection.cpp counts them
  int n;
  const char* in;
};

const Moment kMoments[] = {
    {"main", 1, "main"},
    {"MPI_Init_thread", 1, "MPI_Init_thread"},
    {"MPI_Comm_split", 1, "MPI_Comm_split"},  // of the group in which ranks agree
    {"MPI_Isend", 1, "MPI_Isend"},
    {"MPI_Isend", 7, "MPI_Isend"},
    {"open", 1, "flags.json"},
    {"MPI_Isend", 20, "MPI_Isend"},
    {"MPI_Comm_split", 2, "MPI_Comm_split"},
    {"MPI_Comm_split", 4, "MPI_Comm_split"},
    {"MPI_Isend", 40, "MPI_Isend"},
    {"open", 1, "text-train"},
    {"open", 1, "/status/"},
    {"MPI_Isend", 80, "MPI_Isend"},
    {"MPI_Isend", 120, "MPI_Isend"},
    {"mkdir", 1, "/checkpoints/step-000002.tmp-"},
    {"open", 1, "/checkpoints/step-000002.tmp-"},
    {"write", 1, "/checkpoints/step-000002.tmp-"},
    {"fsync", 1, "/checkpoints/step-000002.tmp-"},
    {"MPI_Finalize", 1, "MPI_Finalize"},
};

class Harmed : public StartUp {
 protected:
  // --timeout of the runs that are stopped; none may last much longer, and none a multiple.
  static constexpr double kTimeoutS = 5, kSlackS = 55;

  Harmed() { write("flags.json", "{\"save-interval\": 2, \"steps\": 4}"); }

  std::string command(int num_ranks, int victim, const Moment& moment, const std::string& action) const {
    return mpirun(num_ranks) +
           fmt::format("env LD_PRELOAD=" TRINE_FAULTS
                       " TRINE_FAULT_RANK={} TRINE_FAULT={}:{}:{} TRINE_FAULT_IN={} ",
                       victim, moment.call, moment.n, action, moment.in) +
           kSmall +
           fmt::format("--config flags.json --tp 2 --pp {} --out {} --timeout {}", std::max(1, num_ranks / 4),
                       (folder_ / "out").string(), kTimeoutS);
  }

  // False if the moment never came.
  bool harm(int num_ranks, int victim, const Moment& moment, const std::string& action) const {
    SCOPED_TRACE(fmt::format("rank {} of {}: {} at {}:{} in {}", victim, num_ranks, action, moment.call, moment.n,
                             moment.in));
    std::filesystem::remove_all(folder_ / "out");
    const auto begin = std::chrono::steady_clock::now();
    Job job(folder_, command(num_ranks, victim, moment, action));
    const int code = job.wait(Job::Seconds(kTimeoutS + kSlackS));
    const std::string printed = job.printed();
    if (code == 0) return false;
    if (action == "stop") {
      const bool mpirun_crashed = printed.find("PMIx_server_finalize") != printed.npos;  // rarely, once all is over
      EXPECT_TRUE(code == 5 || (code == 139 && mpirun_crashed)) << code << "\n" << printed;
      EXPECT_EQ(count(printed, "[hang]") + count(printed, "[peer lost]"), 1u) << printed;
      EXPECT_EQ(count(printed, fmt::format("[hang] rank {} (process ", victim)), 1u) << printed;
      EXPECT_GE(count(printed, "is stopped"), 1u) << printed;
      EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::duration<double>(kTimeoutS));
    } else {
      EXPECT_TRUE(code == 137 || code == 9 || code == 6) << code << "\n" << printed;
      EXPECT_EQ(count(printed, "[hang]"), 0u) << printed;
      EXPECT_LE(count(printed, "[peer lost]"), 1u) << printed;
    }
    EXPECT_EQ(num_processes_left("train_llama", folder_), 0u);
    return true;
  }
};

class HarmedAt : public Harmed, public testing::WithParamInterface<size_t> {};

// One rank, at a few moments: within MPI's start, and where it reads its data.
TEST_P(HarmedAt, IsNotWaitedForForEver) {
  const Moment& moment = kMoments[GetParam()];
  EXPECT_TRUE(harm(4, static_cast<int>(GetParam() % 4), moment, "stop"));
  EXPECT_TRUE(harm(4, static_cast<int>((GetParam() + 1) % 4), moment, "kill"));
}
INSTANTIATE_TEST_SUITE_P(Moments, HarmedAt, testing::Values(1, 10));

// Rank 0 alone is left, and its save waits for a part that never comes.
TEST_F(Harmed, AStopWithinASaveIsToldAfterTheTimeout) {
  EXPECT_TRUE(harm(2, 1, {"open", 1, "/checkpoints/step-000002.tmp-"}, "stop"));
}

class HarmedAmong : public Harmed, public testing::WithParamInterface<int> {};

TEST_P(HarmedAmong, LongAtEveryMoment) {
  const int num_ranks = GetParam();
  int runs = 0;
  for (const Moment& moment : kMoments)
    for (const char* action : {"stop", "kill"})
      for (const int victim : {0, 1, num_ranks - 1}) runs += harm(num_ranks, victim, moment, action);
  std::printf("%d runs were harmed\n", runs);
  EXPECT_GT(runs, 100);
}
INSTANTIATE_TEST_SUITE_P(Ranks, HarmedAmong, testing::Values(4, 8));

}  // namespace
}  // namespace trine
