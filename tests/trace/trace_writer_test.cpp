#include "trace/trace_writer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/data/file_limit.h"
#include "tests/data/scratch.h"
#include "tests/trace/sample_trace.h"
#include "trace/trace_reader.h"

namespace trine {
namespace {

using nlohmann::json;
using testing::read_file;
using testing::ScratchFolder;

const std::vector<NodeLabel> kNodes = {{"add", "layers.3.\"attention\"", "F", "", 0, 0},
                                       {"add", "", "epilogue", "", 0, 0}};

StepTrace step(int number) {
  return {.step = number,
          .begin_ns = 4'999'999'000,
          .end_ns = 5'000'009'000,
          .clock = {.offset_ns = 7'000, .error_ns = 40},
          .events = {{.t0_ns = 5'000'000'123,
                      .t1_ns = 5'000'002'123,
                      .flops = 6000,
                      .bytes = 4000,
                      .step = number,
                      .node = 0,
                      .microbatch = 1},
                     {.t0_ns = 5'000'002'123,
                      .t1_ns = 5'000'002'623,
                      .step = number,
                      .node = 1,
                      .kind = EventKind::kOptimizer},
                     {.t0_ns = 5'000'001'000,
                      .t1_ns = 5'000'004'000,
                      .bytes = 99,
                      .step = number,
                      .lane = Lane::kDp,
                      .kind = EventKind::kCommDp},
                     {.t0_ns = 4'999'999'000,
                      .t1_ns = 5'000'000'000,
                      .step = number,
                      .lane = Lane::kHost,
                      .kind = EventKind::kData}}};
}

json event_named(const json& trace, const std::string& name, size_t number = 0) {
  for (const json& event : trace["traceEvents"])
    if (event["name"] == name && number-- == 0) return event;
  ADD_FAILURE() << "no event " << name;
  return {};
}

TEST(TraceWriter, WritesRowsEventsAndSteps) {
  const ScratchFolder folder;
  const auto path = folder / "trace" / "rank-0005.json";
  TraceWriter writer(path, {.mesh = {.pp = 2, .dp = 2, .tp = 4},
                            .rank = 5,
                            .host = "node7",
                            .device = "cpu \"x\"",
                            .clock = {.offset_ns = 7'000, .error_ns = 40},
                            .origin_unix_ns = 123,
                            .nodes = kNodes});
  writer.write_step(step(3));
  const json trace = json::parse(read_file(path));
  EXPECT_EQ(trace["schemaVersion"], 1);
  EXPECT_EQ(trace["distributedInfo"]["rank"], 5);
  EXPECT_EQ(trace["distributedInfo"]["world_size"], 16);
  EXPECT_EQ(trace["distributedInfo"]["clock_offset_ns"], 7'000);
  EXPECT_EQ(trace["distributedInfo"]["clock_error_ns"], 40);
  EXPECT_EQ(trace["baseTimeNanoseconds"], 123);
  EXPECT_EQ(trace["deviceProperties"][0]["name"], "cpu \"x\"");
  EXPECT_EQ(event_named(trace, "process_labels")["args"]["labels"], "node7, pp 0 dp 1 tp 1");

  const json first = event_named(trace, "add");
  EXPECT_EQ(first["ph"], "X");
  EXPECT_EQ(first["pid"], 5);
  EXPECT_NEAR(first["ts"].get<double>(), 5'000'000.123, 1e-6);
  EXPECT_NEAR(first["dur"].get<double>(), 2, 1e-9);
  const json& args = first["args"];
  EXPECT_EQ(args["step"], 3);
  EXPECT_EQ(args["microbatch"], 1);
  EXPECT_EQ(args["node"], 0);
  EXPECT_EQ(args["scope"], "layers.3.\"attention\"");
  EXPECT_EQ(args["phase"], "F");
  EXPECT_EQ(args["kind"], "compute");
  EXPECT_EQ(args["bytes"], 4000);
  EXPECT_EQ(args["flops"], 6000);
  EXPECT_EQ(args["GFLOP/s"], 3);  // 6000 in 2 us
  EXPECT_EQ(args["GB/s"], 2);
  EXPECT_EQ(event_named(trace, "add", 1)["args"]["phase"], "epilogue");
  EXPECT_FALSE(event_named(trace, "add", 1)["args"].contains("microbatch"));

  const json dp = event_named(trace, "comm_dp"), data = event_named(trace, "data");
  EXPECT_NE(dp["tid"], first["tid"]);
  EXPECT_EQ(dp["args"]["stream"], dp["tid"]);
  EXPECT_EQ(data["cat"], "cpu_op");
  EXPECT_FALSE(data["args"].contains("stream"));
  const json row = event_named(trace, "ProfilerStep#3");
  EXPECT_NEAR(row["ts"].get<double>(), 4'999'999, 1e-6);
  EXPECT_NEAR(row["dur"].get<double>(), 10, 1e-9);
  EXPECT_EQ(row["args"]["clock_error_ns"], 40);
  std::map<int, std::string> rows;
  for (const json& event : trace["traceEvents"])
    if (event["name"] == "thread_name") rows[event["tid"]] = event["args"]["name"];
  EXPECT_EQ(rows[first["tid"]], "compute");
  EXPECT_EQ(rows[dp["tid"]], "dp");
  EXPECT_EQ(rows[row["tid"]], "steps");
  EXPECT_EQ(rows.size(), 8u);
}

size_t num_steps(const std::filesystem::path& path) { return read_trace(path).ranks.at(0).steps.size(); }

TEST(TraceWriter, TheFileIsWholeAfterEveryStep) {
  for (const char* name : {"t.json", "t.json.gz"}) {
    const ScratchFolder folder;
    TraceWriter writer(folder / name, {.nodes = kNodes});
    EXPECT_THROW(num_steps(folder / name), DataError);  // whole, but there is no step in it
    for (int number = 1; number <= 3; ++number) {
      writer.write_step(step(number));
      EXPECT_EQ(num_steps(folder / name), static_cast<size_t>(number));
    }
  }
}

// Perfetto takes only the first of several members.
TEST(TraceWriter, ACompressedFileIsOneMember) {
  const ScratchFolder folder;
  Trace trace = testing::sample_trace({}, 20);
  write_trace(trace, folder.path());
  write_trace(trace, folder.path(), false);
  const std::string packed = read_file(folder / "rank-0000.json.gz"), plain = read_file(folder / "rank-0000.json");
  EXPECT_LT(packed.size(), plain.size() / 4);
  size_t members = 0;
  for (size_t at = packed.find("\x1f\x8b\x08"); at != packed.npos; at = packed.find("\x1f\x8b\x08", at + 1))
    ++members;
  EXPECT_EQ(members, 1u);
  const auto length = static_cast<uint32_t>(plain.size());  // the trailer of the only member has all of it
  EXPECT_EQ(packed.substr(packed.size() - 4), std::string(reinterpret_cast<const char*>(&length), 4));
}

TEST(TraceWriter, AFullDiskLeavesTheStepsThatFit) {
  for (const char* name : {"t.json", "t.json.gz"}) {
    const ScratchFolder folder;
    const auto path = folder / name;
    TraceWriter writer(path, {.nodes = kNodes});
    writer.write_step(step(1));
    {
      const testing::FileSizeLimit disk(std::filesystem::file_size(path) + 50);
      writer.write_step(step(2));
      EXPECT_EQ(num_steps(path), 1u);
      EXPECT_TRUE(writer.file().failed());
      EXPECT_TRUE(writer.file().take_warning());
      EXPECT_FALSE(writer.full());
    }
    writer.write_step(step(3));
    EXPECT_EQ(num_steps(path), 2u);

    std::optional<testing::FileSizeLimit> no_disk(100);
    TraceWriter late(folder / (std::string("late-") + name), {.nodes = kNodes});  // not even the header fits
    late.write_step(step(1));
    EXPECT_TRUE(late.file().failed());
    no_disk.reset();
    late.write_step(step(2));
    EXPECT_EQ(num_steps(late.file().path()), 1u);
  }
  TraceWriter nowhere("/dev/full", {});
  nowhere.write_step(step(1));
  EXPECT_TRUE(nowhere.file().failed());
}

TEST(TraceWriter, TheLimitEndsTheTraceWhole) {
  for (const char* name : {"t.json", "t.json.gz"}) {
    const ScratchFolder folder;
    const auto path = folder / name;
    int64_t three_steps = 0;
    {
      TraceWriter writer(folder / (std::string("all-") + name), {.nodes = kNodes});
      for (int number = 1; number <= 3; ++number) writer.write_step(step(number));
      three_steps = writer.file().size();
    }
    TraceWriter writer(path, {.nodes = kNodes}, three_steps - 1);
    for (int number = 1; number <= 5; ++number) {
      writer.write_step(step(number));
      EXPECT_EQ(writer.full(), number >= 3) << number;
      EXPECT_LT(std::filesystem::file_size(path), static_cast<size_t>(three_steps));
    }
    EXPECT_EQ(num_steps(path), 2u);
    EXPECT_FALSE(writer.file().failed());
    TraceWriter exact(folder / (std::string("exact-") + name), {.nodes = kNodes}, three_steps);
    for (int number = 1; number <= 3; ++number) exact.write_step(step(number));
    EXPECT_FALSE(exact.full());
  }
}

}  // namespace
}  // namespace trine
