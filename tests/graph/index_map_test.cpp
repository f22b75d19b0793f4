#include "graph/index_map.h"

#include <gmock/gmock.h>

#include "base/error.h"

namespace trine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(ParseIndexMap, ReadsOperandsMarksAndLinearity) {
  const IndexMap map = parse_index_map("~ids[n] x[n,d!] w[d] -> y[n,d] rstd[n] : x+w, w");
  ASSERT_EQ(map.inputs.size(), 3u);
  EXPECT_EQ(map.inputs[0].name, "ids");
  EXPECT_FALSE(map.inputs[0].differentiable);
  EXPECT_TRUE(map.inputs[1].differentiable);
  EXPECT_THAT(map.inputs[1].indices, ElementsAre("n", "d"));
  ASSERT_EQ(map.outputs.size(), 2u);
  EXPECT_EQ(map.outputs[1].name, "rstd");
  EXPECT_THAT(map.whole, ElementsAre("d"));
  EXPECT_THAT(map.linear_in, ElementsAre(ElementsAre(1, 2), ElementsAre(2)));
}

TEST(ParseIndexMap, TakesOpsWithoutInputsOrOutputs) {
  EXPECT_TRUE(parse_index_map(" -> ids[n]").inputs.empty());
  EXPECT_TRUE(parse_index_map("x[n] -> ").outputs.empty());
  EXPECT_TRUE(parse_index_map("x[] -> y[]").inputs[0].indices.empty());
}

TEST(ParseIndexMap, NamesWhatIsMalformed) {
  EXPECT_THAT([] { parse_index_map("x n -> y[n]"); },
              ThrowsMessage<CheckError>(HasSubstr("'[' is missing after x")));
  EXPECT_THAT([] { parse_index_map("x[n] -> y[n] : z"); }, ThrowsMessage<CheckError>(HasSubstr("no input z")));
  EXPECT_THAT([] { parse_index_map("x[n] -> y[n] : x ?"); },
              ThrowsMessage<CheckError>(HasSubstr("unexpected '?'")));
  EXPECT_THROW(parse_index_map("x[n,"), CheckError);
  EXPECT_THROW(parse_index_map("x[n]"), CheckError);
}

TEST(KnownIndexMap, IsParsedOnceForEachText) {
  const std::string text = "x[n,k] w[m,k] -> y[n,m] : x, w";
  const IndexMap& first = known_index_map(text);
  EXPECT_THAT(first.linear_in, ElementsAre(ElementsAre(0), ElementsAre(1)));
  EXPECT_TRUE(known_index_map("x[n] -> y[n]").linear_in.empty());
  EXPECT_EQ(&known_index_map(std::string(text)), &first);
}

constexpr auto I = Placement::invariant(), R = Placement::replicated(), P = Placement::partial();
constexpr auto S0 = Placement::split(0), S1 = Placement::split(1), S2 = Placement::split(2);
constexpr auto B0 = Placement::batch_split();

struct Row {
  const char* rule;
  const char* map;
  std::vector<Placement> inputs;
  std::vector<Placement> outputs;  // empty: illegal
  const char* reason = "";
};

constexpr const char* kProduct = "x[n,k] w[m,k] -> y[n,m] : x, w";
constexpr const char* kSum = "a[n,d] b[n,d] -> y[n,d] : a+b";
constexpr const char* kNorm = "x[n,d!] w[d] -> y[n,d] rstd[n]";
constexpr const char* kLookup = "~ids[n] w[v,d] -> y[n,d] : w";
constexpr const char* kGated = "gate[n,f] up[n,f] -> h[n,f]";
constexpr const char* kMerged = "x[n,k] w0[m,k] w1[m,k] -> y0[n,m] y1[n,m] : x, w0+w1";

const Row kRows[] = {
    {"a", kProduct, {I, I}, {I}},
    {"a", kNorm, {I, I}, {I, I}},
    {"a, an integer fits anywhere", kLookup, {R, I}, {I}},
    {"b, all replicated", kProduct, {R, R}, {R}},
    {"b, column parallel", kProduct, {R, S0}, {S1}},
    {"b, row parallel: summed away", kProduct, {S1, S1}, {P}},
    {"b, split rows", kProduct, {S0, R}, {S0}},
    {"b, merged column parallel", kMerged, {R, S0, S0}, {S1, S1}},
    {"b, merged, one weight whole", kMerged, {R, S0, R}, {}, "w1 has index m, which is split elsewhere, but is R"},
    {"b, sequence-parallel norm", kNorm, {S0, R}, {S0, S0}},
    {"b, both factors", kGated, {S1, S1}, {S1}},
    {"b, one factor only", kGated, {S1, R}, {}, "up has index f, which is split elsewhere, but is R"},
    {"b, row parallel, one side", kProduct, {S1, R}, {}, "w has index k, which is split elsewhere, but is R"},
    {"b, two indices", kProduct, {S0, S0}, {}, "both n and m are split"},
    {"b, vocabulary parallel", kLookup, {I, S0}, {P}},
    {"b, split rows of a lookup", kLookup, {S0, R}, {S0}},
    {"b, an index needed whole", kNorm, {S1, S0}, {}, "index d is needed whole"},
    {"b, no such dim", kSum, {S2, S2}, {}, "has no dim 2"},
    {"b, samples are never needed whole", "q[n!,h] k[n,h] -> o[n,h]", {B0, B0}, {B0}},
    {"b, tokens are", "q[n!,h] k[n,h] -> o[n,h]", {S0, S0}, {}, "index n is needed whole"},
    {"b, samples summed away", "stats[n] ~labels[n] -> loss[one]", {B0, B0}, {P}},
    {"c, one factor of a product", kProduct, {P, R}, {P}},
    {"c, the other factor", kProduct, {R, P}, {P}},
    {"c, both factors", kProduct, {P, P}, {}, "not linear"},
    {"c, every term of a sum", kSum, {P, P}, {P}},
    {"c, one term of a sum", kSum, {P, R}, {}, "not linear"},
    {"c, all weights of a merged product", kMerged, {R, P, P}, {P, P}},
    {"c, one weight of a merged product", kMerged, {R, P, R}, {}, "not linear"},
    {"c, a nonlinear op", kGated, {P, R}, {}, "not linear"},
    {"c, beside a split", kProduct, {P, S0}, {}, "a partial input beside one split"},
    {"c, one term invariant", kSum, {P, I}, {}, "needs an enter"},
    {"I beside R", kProduct, {I, R}, {}, "needs an enter"},
    {"I beside S", kProduct, {I, S0}, {}, "needs an enter"},
    {"I beside S: the norm weight of sequence parallelism", kNorm, {S0, I}, {}, "needs an enter"},
    {"I beside P", kProduct, {P, I}, {}, "needs an enter"},
    {"a split of integers beside an invariant", kLookup, {S0, I}, {}, "needs an enter"},
};

TEST(DerivePlacements, FollowsTheTableOfTheDesign) {
  for (const Row& row : kRows) {
    const auto derived = derive_placements(parse_index_map(row.map), row.inputs, Axis::kTp);
    if (const auto* reason = std::get_if<std::string>(&derived)) {
      EXPECT_TRUE(row.outputs.empty()) << row.rule << ", " << row.map << ": refused: " << *reason;
      EXPECT_THAT(*reason, HasSubstr(row.reason)) << row.rule << ", " << row.map;
    } else {
      EXPECT_EQ(std::get<std::vector<Placement>>(derived), row.outputs) << row.rule << ", " << row.map;
    }
  }
}

}  // namespace
}  // namespace trine
