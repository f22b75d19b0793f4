#include "graph/passes/recompute.h"

#include <gmock/gmock.h>

#include "tests/graph/small_model.h"

namespace trine {
namespace {

using Policy = RecomputeOptions::Policy;
using testing::ElementsAre;
using testing::Pair;
using testing::UnorderedElementsAre;

constexpr RecomputeOptions kNone{}, kSelective{Policy::kSelective};
constexpr RecomputeOptions group(int64_t layers) { return {Policy::kGroup, layers}; }

Graph run(SmallModel model, RecomputeOptions options) {
  Graph graph = recompute(make_small_model(model), options);
  verify(graph);
  return graph;
}

// How many nodes of each op there are, in scopes that begin like that.
std::map<std::string, int> count_ops(const Graph& graph, bool clones_only, std::string_view scope = "") {
  std::map<std::string, int> count;
  for (const Node& node : graph.nodes())
    if ((node.recompute || !clones_only) && node.scope.starts_with(scope)) ++count[std::string(node.op->name())];
  return count;
}
std::map<std::string, int> clones(const Graph& graph) { return count_ops(graph, true); }

// "scope: op" of the forward values in layers that backward reads.
std::set<std::string> kept(const Graph& graph) {
  std::set<std::string> names;
  for (const Node& node : graph.nodes()) {
    if (node.phase == Phase::kForward) continue;
    for (ValueId input : node.inputs) {
      const NodeId producer = graph[input].producer;
      if (!producer.valid() || graph[producer].phase != Phase::kForward) continue;
      if (graph[producer].scope.starts_with("layers."))
        names.insert(fmt::format("{}: {}", graph[producer].scope, graph[producer].op->name()));
    }
  }
  return names;
}

TEST(Recompute, NoneClonesNothingOnOneRank) {
  EXPECT_EQ(run({}, kNone).nodes().size(), make_small_model({}).nodes().size());
  EXPECT_THAT(clones(run({}, kNone)), ElementsAre());
}

TEST(Recompute, SelectiveRebuildsNormsAndProducts) {
  const Graph graph = run({.layers = 4}, kSelective);
  EXPECT_THAT(clones(graph), ElementsAre(Pair("rms_norm", 5), Pair("swiglu", 4)));  // 5 with the head's
  EXPECT_THAT(kept(run({.layers = 1}, kSelective)),
              UnorderedElementsAre("layers.0.ffn: linear", "layers.0.ffn: add"));  // the add's reader is the head
}

TEST(Recompute, GroupsKeepTheirInputsAlone) {
  for (const auto& [layers, last_of_groups] : std::vector<std::pair<int64_t, std::vector<int>>>{
           {1, {0, 1, 2, 3}}, {2, {1, 3}}, {3, {2, 3}}, {4, {3}}, {9, {3}}}) {
    const Graph graph = run({.layers = 4}, group(layers));
    std::set<std::string> expected;
    for (int layer : last_of_groups) expected.insert(fmt::format("layers.{}.ffn: add", layer));
    EXPECT_EQ(kept(graph), expected) << layers;
    const int groups = static_cast<int>(last_of_groups.size());
    // The last product and sum of a group are not needed: its output is kept.
    std::map<std::string, int> want = {{"rms_norm", 4}, {"swiglu", 4}, {"linear", 4 + 4 - groups}};
    if (groups < 4) want["add"] = 4 - groups;
    EXPECT_EQ(clones(graph), want) << layers;
  }
}

TEST(Recompute, LayersAreCountedFromTheStagesFirst) {
  Graph graph = make_small_model({.layers = 4, .first = false});
  Builder builder(std::move(graph));
  for (Node& node : builder.nodes())
    if (node.scope.starts_with("layers."))
      node.scope = fmt::format("layers.{}.ffn", 9 + std::stoi(node.scope.substr(7)));  // 9 to 12
  EXPECT_THAT(kept(recompute(builder.finish(), group(2))),
              UnorderedElementsAre("layers.10.ffn: add", "layers.12.ffn: add"));
}

TEST(Recompute, ClonesStandRightBeforeTheirFirstUse) {
  for (const RecomputeOptions options : {kNone, kSelective, group(1), group(2)}) {
    const Graph graph = run({.tp = 2}, options);
    for (size_t n = 0; n < graph.nodes().size(); ++n) {
      const Node& node = graph.nodes()[n];
      if (!node.recompute) continue;
      EXPECT_EQ(node.phase, Phase::kInputGrad);
      size_t next = n + 1;  // behind the clones that are made for the same use
      while (graph.nodes()[next].recompute) ++next;
      bool used = false;
      for (size_t reader = n + 1; reader <= next; ++reader)
        for (ValueId input : graph.nodes()[reader].inputs)
          used |= graph[input].producer.index == static_cast<int>(n);
      EXPECT_TRUE(used) << node.scope << " " << node.op->name();
    }
  }
}

// Per layer: forward gathers and scatters once, so does its transpose, and the weight gradient gathers again. A
// rebuilt layer uses one gather for both, and scatters again unless its output is kept.
TEST(Recompute, GathersAreNeverKept) {
  for (const RecomputeOptions options : {kNone, kSelective, group(1), group(2), group(4)}) {
    const Graph graph = run({.layers = 4, .tp = 2}, options);
    for (const std::string& value : kept(graph)) EXPECT_THAT(value, testing::Not(testing::HasSubstr("all_gather")));
    const auto all = count_ops(graph, false, "layers.");
    EXPECT_EQ(all.at("all_gather"), 4 * 3);
    const int rebuilt = options.policy == Policy::kGroup ? 4 - 4 / static_cast<int>(options.layers_per_group) : 0;
    EXPECT_EQ(all.at("reduce_scatter"), 4 * 2 + rebuilt);
  }
  const auto head = count_ops(run({.tp = 2}, kNone), true, "head");
  EXPECT_THAT(head, ElementsAre(Pair("all_gather", 1)));  // not that of the loss's statistics, which fits all
}

TEST(Recompute, NeitherWritesNorReceivesTwice) {
  Builder builder(make_small_model({.first = false}));
  builder.nodes()[0].scope = "layers.0.ffn";  // the receive, as if the first group contained it
  const Graph before = builder.finish(), after = recompute(before, group(4));
  verify(after);
  const auto count = [](const Graph& graph, const char* op) { return count_ops(graph, false)[op]; };
  ASSERT_EQ(before.nodes()[0].op->name(), "receive");
  for (const char* op : {"accumulate", "receive", "send_grad", "linear_dw"}) {
    EXPECT_GT(count(before, op), 0);
    EXPECT_EQ(count(after, op), count(before, op)) << op;
  }
}

TEST(Recompute, ChangesNoBit) {
  for (int tp : {1, 2}) {
    const auto expected = run_small_model(make_small_model({.tp = tp}));
    for (const RecomputeOptions options : {kNone, kSelective, group(1), group(2), group(3), group(4)})
      EXPECT_EQ(run_small_model(run({.tp = tp}, options)), expected);
  }
}

}  // namespace
}  // namespace trine
