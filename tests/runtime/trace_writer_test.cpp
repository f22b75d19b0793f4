#include "runtime/trace_writer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "graph/builder.h"
#include "ops/elementwise.h"
#include "tests/data/scratch.h"
#include "tests/runtime/file_limit.h"

namespace trine {
namespace {

using nlohmann::json;
using testing::read_file;
using testing::ScratchFolder;

Graph two_adds() {
  Builder builder{Mesh{}};
  const StateId x = builder.add_state({.name = "x", .type = TensorType{DType::kF32, Shape{4, 8}, {}}});
  builder.set_scope("layers.3.\"attention\"");
  const ValueId y = builder.add(Add(), {builder.read(x), builder.read(x)});
  builder.enter(Region::kEpilogue);
  builder.add(Add(), {y, y});
  return builder.finish();
}

const std::vector<TraceEvent> kEvents = {
    {.t0_ns = 5'000'000'123,
     .t1_ns = 5'000'002'123,
     .flops = 6000,
     .bytes = 4000,
     .step = 3,
     .node = 0,
     .microbatch = 1},
    {.t0_ns = 5'000'002'123, .t1_ns = 5'000'002'623, .step = 3, .node = 1, .kind = EventKind::kOptimizer},
    {.t0_ns = 5'000'001'000,
     .t1_ns = 5'000'004'000,
     .bytes = 99,
     .step = 3,
     .lane = Lane::kDp,
     .kind = EventKind::kCommDp},
    {.t0_ns = 4'999'999'000, .t1_ns = 5'000'000'000, .step = 3, .lane = Lane::kHost, .kind = EventKind::kData}};

json event_named(const json& trace, const std::string& name, size_t number = 0) {
  for (const json& event : trace["traceEvents"])
    if (event["name"] == name && number-- == 0) return event;
  ADD_FAILURE() << "no event " << name;
  return {};
}

TEST(TraceWriter, WritesRowsEventsAndSteps) {
  const ScratchFolder folder;
  const auto path = folder / "trace" / "rank-0005.json";
  TraceWriter writer(path, 5, 16, {.device = "cpu \"x\"", .coordinate = "pp 0 dp 1 tp 1"});
  writer.write_step(two_adds(), kEvents);
  writer.close();
  const json trace = json::parse(read_file(path));
  EXPECT_EQ(trace["schemaVersion"], 1);
  EXPECT_EQ(trace["distributedInfo"], json::parse(R"({"backend": "mpi", "rank": 5, "world_size": 16,
                                                      "clock_offset_ns": 0, "clock_error_ns": 0})"));
  EXPECT_EQ(trace["deviceProperties"][0]["name"], "cpu \"x\"");
  EXPECT_EQ(event_named(trace, "process_labels")["args"]["labels"], "pp 0 dp 1 tp 1");

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

  const json dp = event_named(trace, "ncclKernel_comm_dp"), data = event_named(trace, "data");
  EXPECT_NE(dp["tid"], first["tid"]);
  EXPECT_EQ(dp["args"]["stream"], dp["tid"]);
  EXPECT_EQ(data["cat"], "cpu_op");
  EXPECT_FALSE(data["args"].contains("stream"));
  const json step = event_named(trace, "ProfilerStep#3");
  EXPECT_NEAR(step["ts"].get<double>(), 4'999'999, 1e-6);
  EXPECT_NEAR(step["dur"].get<double>(), 5, 1e-9);
  std::map<int, std::string> rows;
  for (const json& event : trace["traceEvents"])
    if (event["name"] == "thread_name") rows[event["tid"]] = event["args"]["name"];
  EXPECT_EQ(rows[first["tid"]], "compute");
  EXPECT_EQ(rows[dp["tid"]], "dp");
  EXPECT_EQ(rows[step["tid"]], "steps");
  EXPECT_EQ(rows.size(), 7u);
}

TEST(TraceWriter, TimesAreThoseOfRankZerosClock) {
  const ScratchFolder folder;
  TraceWriter writer(folder / "t.json", 1, 2, {.clock = {.offset_ns = 7'000, .error_ns = 40}, .base_time_ns = 123});
  writer.write_step(two_adds(), kEvents);
  writer.close();
  const json trace = json::parse(read_file(folder / "t.json"));
  EXPECT_EQ(trace["distributedInfo"]["clock_offset_ns"], 7'000);
  EXPECT_EQ(trace["distributedInfo"]["clock_error_ns"], 40);
  EXPECT_EQ(trace["baseTimeNanoseconds"], 123);
  EXPECT_NEAR(event_named(trace, "add")["ts"].get<double>(), 5'000'007.123, 1e-6);
}

TEST(TraceWriter, TheFileIsWholeAfterEveryStep) {
  const ScratchFolder folder;
  const Graph graph = two_adds();
  TraceWriter writer(folder / "t.json", 0, 1);
  const size_t rows = json::parse(read_file(folder / "t.json"))["traceEvents"].size();
  for (size_t step = 1; step <= 3; ++step) {
    writer.write_step(graph, kEvents);
    EXPECT_EQ(json::parse(read_file(folder / "t.json"))["traceEvents"].size(), rows + step * (kEvents.size() + 1));
  }
  writer.write_step(graph, {});
  EXPECT_EQ(json::parse(read_file(folder / "t.json"))["traceEvents"].size(), rows + 3 * (kEvents.size() + 1));
}

TEST(TraceWriter, AFullDiskLeavesTheStepsThatFit) {
  const ScratchFolder folder;
  const Graph graph = two_adds();
  const auto path = folder / "t.json";
  const auto num_steps = [&] {
    const json trace = json::parse(read_file(path));
    size_t steps = 0;
    for (const json& event : trace["traceEvents"]) {
      steps += event["name"].get<std::string>().starts_with("ProfilerStep");
    }
    return steps;
  };
  TraceWriter writer(path, 0, 1);
  writer.write_step(graph, kEvents);
  {
    const testing::FileSizeLimit disk(std::filesystem::file_size(path) + 300);
    writer.write_step(graph, kEvents);
    EXPECT_EQ(num_steps(), 1u);
    EXPECT_TRUE(writer.file().failed());
    EXPECT_TRUE(writer.file().take_warning());
  }
  writer.write_step(graph, kEvents);
  EXPECT_EQ(num_steps(), 2u);

  std::optional<testing::FileSizeLimit> no_disk(200);
  TraceWriter late(path, 0, 1);  // not even the header fits
  late.write_step(graph, kEvents);
  EXPECT_TRUE(late.file().failed());
  no_disk.reset();
  late.write_step(graph, kEvents);
  EXPECT_EQ(num_steps(), 1u);

  TraceWriter nowhere("/dev/full", 0, 1);
  nowhere.write_step(graph, kEvents);
  EXPECT_TRUE(nowhere.file().failed());
}

}  // namespace
}  // namespace trine
