// The schedules: their properties over many layouts, their orders against the papers' and
// PyTorch's, and their errors.
#include <algorithm>
#include <fstream>
#include <gmock/gmock.h>
#include <sstream>

#include "base/error.h"
#include "parallel/schedules/check.h"
#include "parallel/schedules/schedule.h"
#include "parallel/schedules/timing.h"
#include "tests/test_data.h"

namespace trine {
namespace {

using testing::HasSubstr;
using enum PipelineKind;

struct Layout {
  PipelineKind kind;
  int pp, vpp, microbatches;
  std::vector<Schedule> schedules() const { return make_schedules(kind, pp, vpp, microbatches); }
  std::vector<ActionTimes> times() const { return std::vector<ActionTimes>(static_cast<size_t>(pp * vpp)); }
  std::string text() const {
    return fmt::format("kind {} pp {} vpp {} microbatches {}", static_cast<int>(kind), pp, vpp, microbatches);
  }
};

void for_layouts(const std::vector<PipelineKind>& kinds, const auto& check) {
  for (const PipelineKind kind : kinds) {
    for (int pp = 1; pp <= 8; ++pp) {
      for (int vpp = 1; vpp <= (kind == kInterleaved ? 4 : 1); ++vpp) {
        for (int m = 1; m <= 24; ++m) {
          if (kind == kInterleaved && interleaved_problem(pp, m)) continue;
          const Layout layout{kind, pp, vpp, m};
          SCOPED_TRACE(layout.text());
          check(layout);
          if (testing::Test::HasFailure()) return;
        }
      }
    }
  }
}

const std::vector<PipelineKind> kAll{kGpipe, k1F1B, kInterleaved, kZeroBubble};

// The message of the ConfigError that `body` must throw.
std::string error_of(const auto& body) {
  try {
    body();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}
std::string check_error(const std::vector<Schedule>& schedules, int stages, int m) {
  return error_of([&] { check_schedules(schedules, stages, m); });
}

TEST(Schedules, AreComplete) {
  for_layouts(
      kAll, [](const Layout& l) { EXPECT_NO_THROW(check_schedules(l.schedules(), l.pp * l.vpp, l.microbatches)); });
}

// Microbatches (of all chunks) that a rank keeps, from the papers; nullopt: they do not say.
std::optional<int> published_in_flight(const Layout& l, int rank) {
  const int all = l.microbatches * l.vpp;
  switch (l.kind) {
    case kGpipe:
      return all;
    case k1F1B:
      return std::min(all, l.pp - rank);
    case kZeroBubble:
      return std::min(all, l.pp);  // the peak of 1F1B, which is its first rank's
    case kInterleaved:
      break;
  }
  if (l.microbatches % l.pp != 0) return std::nullopt;
  return std::min(all, (l.vpp - 1) * l.pp + 2 * (l.pp - 1 - rank) + 1);
}

// The share of the step in which a rank idles, for F = I = W. ZB-H1: (p - 1) (F + I - W) is idle; 1F1B: (p - 1) (F
// + I + W).
std::optional<double> published_bubble(const Layout& l) {
  const double p = l.pp, m = l.microbatches, v = l.vpp;
  switch (l.kind) {
    case kGpipe:
      return (p - 1) / (m + p - 1);
    case k1F1B:
      return (p - 1) / (m + p - 1);
    case kZeroBubble:
      return m < p ? std::nullopt : std::optional((p - 1) / (3 * m + p - 1));
    case kInterleaved:
      return l.microbatches % l.pp != 0 ? std::nullopt : std::optional((p - 1) / (v * m + p - 1));
  }
  return std::nullopt;
}

TEST(Schedules, KeepAsManyMicrobatchesInFlightAsPublished) {
  for_layouts(kAll, [](const Layout& l) {
    const auto schedules = l.schedules();
    for (int rank = 0; rank < l.pp; ++rank) {
      const int kept = max_in_flight(schedules[static_cast<size_t>(rank)]);
      EXPECT_EQ(kept, published_in_flight(l, rank).value_or(kept)) << "rank " << rank;
    }
  });
}

TEST(Schedules, HaveThePublishedBubble) {
  for_layouts(kAll, [](const Layout& l) {
    const double bubble = bubble_fraction(l.schedules(), l.times());
    EXPECT_NEAR(bubble, published_bubble(l).value_or(bubble), 1e-12);
  });
}

TEST(Schedules, ZeroBubbleIdlesLessThan1F1B) {
  for_layouts({kZeroBubble}, [](const Layout& l) {
    const double of_1f1b = bubble_fraction(make_schedules(k1F1B, l.pp, 1, l.microbatches), l.times());
    if (l.pp > 1) {
      EXPECT_LT(bubble_fraction(l.schedules(), l.times()), of_1f1b);
    }
  });
}

TEST(Schedules, UnequalCosts) {
  // Two ranks, two microbatches, the last stage with a head: F 2 + I 3 + W 1, drawn on paper.
  const std::vector<ActionTimes> times{{1, 1, 1}, {2, 3, 1}};
  const Timing run = time_schedules(make_schedules(k1F1B, 2, 1, 2), times);
  const auto ends = [&](size_t rank) {
    std::vector<double> list;
    for (const Span& span : run.spans[rank]) list.push_back(span.end);
    return list;
  };
  EXPECT_THAT(ends(0), testing::ElementsAre(1, 2, 9, 15));
  EXPECT_THAT(ends(1), testing::ElementsAre(3, 7, 9, 13));
  EXPECT_NEAR(bubble_fraction(make_schedules(k1F1B, 2, 1, 2), times), 1 - 18.0 / 30, 1e-12);
}

TEST(Schedules, OrdersOfThePapers) {
  const auto row = [](PipelineKind kind, int vpp, size_t rank) {
    return to_string(make_schedules(kind, 4, vpp, 8)[rank]);
  };
  EXPECT_EQ(row(kGpipe, 1, 2), "2F0 2F1 2F2 2F3 2F4 2F5 2F6 2F7 2B0 2B1 2B2 2B3 2B4 2B5 2B6 2B7");
  EXPECT_EQ(row(k1F1B, 1, 0), "0F0 0F1 0F2 0F3 0B0 0F4 0B1 0F5 0B2 0F6 0B3 0F7 0B4 0B5 0B6 0B7");
  EXPECT_EQ(row(k1F1B, 1, 3), "3F0 3B0 3F1 3B1 3F2 3B2 3F3 3B3 3F4 3B4 3F5 3B5 3F6 3B6 3F7 3B7");
  EXPECT_EQ(row(kInterleaved, 2, 3),
            "3F0 3F1 3F2 3F3 7F0 7B0 7F1 7B1 7F2 7B2 7F3 7B3 3F4 3B0 3F5 3B1 3F6 3B2 3F7 3B3 7F4 7B4 7F5 7B5 7F6 "
            "7B6 7F7 7B7 3B4 3B5 3B6 3B7");
  EXPECT_EQ(row(kZeroBubble, 1, 0),
            "0F0 0F1 0F2 0F3 0I0 0W0 0F4 0I1 0W1 0F5 0I2 0W2 0F6 0I3 0W3 0F7 0I4 0W4 0I5 0W5 0I6 0W6 0I7 0W7");
  EXPECT_EQ(row(kZeroBubble, 1, 3),
            "3F0 3I0 3F1 3I1 3F2 3I2 3F3 3I3 3W0 3F4 3I4 3W1 3F5 3I5 3W2 3F6 3I6 3W3 3F7 3I7 3W4 3W5 3W6 3W7");
}

TEST(Schedules, OrdersOfPyTorch) {
  std::ifstream file(test_data() + "/torch_schedules/orders.txt");
  int lines = 0;
  for (std::string line; std::getline(file, line); ++lines) {
    SCOPED_TRACE(line);
    std::istringstream fields(line.substr(0, line.find(':')));
    std::string name;
    int pp = 0, vpp = 0, microbatches = 0;
    size_t rank = 0;
    fields >> name >> pp >> vpp >> microbatches >> rank;
    const PipelineKind kind = name == "1f1b" ? k1F1B : name == "interleaved" ? kInterleaved : kZeroBubble;
    EXPECT_EQ(make_schedules(kind, pp, vpp, microbatches)[rank], parse_schedule(line.substr(line.find(':') + 1)));
  }
  EXPECT_EQ(lines, 35);
}

TEST(Schedules, InterleavedNamesTheNearestCounts) {
  EXPECT_FALSE(interleaved_problem(4, 10));  // 2 rounds of 5
  EXPECT_FALSE(interleaved_problem(4, 3));   // 1 round
  EXPECT_THAT(
      error_of([] { make_schedules(kInterleaved, 4, 2, 13); }),
      HasSubstr(
          "13 microbatches do not split into 3 equal rounds of at least pp = 4. The nearest counts that do are "
          "12 and 15:"));
}

TEST(ScheduleText, RoundTrips) {
  for_layouts(kAll, [](const Layout& l) {
    for (const Schedule& schedule : l.schedules()) EXPECT_EQ(parse_schedule(to_string(schedule)), schedule);
  });
  EXPECT_EQ(to_string(parse_schedule("  12F0\t3I4\n3W4 ")), "12F0 3I4 3W4");
  EXPECT_TRUE(parse_schedule(" \n").empty());
}

TEST(ScheduleText, ErrorsNameThePosition) {
  const auto error = [](const char* text) { return error_of([&] { parse_schedule(text); }); };
  EXPECT_THAT(error("0F0 2X0"), HasSubstr("[schedule] '2X0' at position 6: the kind is none of F, I, W, B."));
  EXPECT_THAT(error("F0"), HasSubstr("'F0' at position 1: no stage number"));
  EXPECT_THAT(error("-1F0"), HasSubstr("'-1F0' at position 1: no stage number"));
  EXPECT_THAT(error("0F0  1B"), HasSubstr("'1B' at position 8: no microbatch number"));
  EXPECT_THAT(error("1"), HasSubstr("'1' at position 2: the kind is none of"));
  EXPECT_THAT(error("0F99999999999"), HasSubstr("at position 3: no microbatch number"));
  EXPECT_THAT(error("0F0,0B0"), HasSubstr("at position 4: the action goes on"));
}

// Each kind of schedule, broken in each way that the check must see.

void swap_actions(Schedule& schedule, const char* one, const char* other) {
  const auto find = [&](const char* text) {
    const auto at = std::find(schedule.begin(), schedule.end(), parse_schedule(text)[0]);
    TRINE_CHECK(at != schedule.end());
    return at;
  };
  std::iter_swap(find(one), find(other));
}

TEST(ScheduleCheck, FindsWhatIsMissingTwiceOrMisplaced) {
  for (const PipelineKind kind : kAll) {
    auto schedules = make_schedules(kind, 4, 1, 8);
    const Action last = schedules[1].back();
    schedules[1].pop_back();
    EXPECT_THAT(check_error(schedules, 4, 8), HasSubstr("stage 1 runs 'F")) << to_string(last);
    schedules[1].push_back(last);
    schedules[1].push_back(last);
    EXPECT_THAT(check_error(schedules, 4, 8),
                HasSubstr("on microbatch 7. It must run F, then B (or I, then W), once each."));
    schedules[1].pop_back();
    schedules[1].pop_back();
    schedules[2].push_back(last);
    EXPECT_THAT(check_error(schedules, 4, 8), HasSubstr("but stage 1 is on rank 1."));
  }
  EXPECT_THAT(check_error(make_schedules(kGpipe, 2, 1, 4), 2, 3),
              HasSubstr("runs 0F3, but there are 2 stages and 3 micro"));
  EXPECT_THAT(check_error(make_schedules(kGpipe, 2, 1, 4), 3, 4), HasSubstr("stage 2 runs '' on microbatch 0."));
}

TEST(ScheduleCheck, FindsWrongOrders) {
  auto schedules = make_schedules(kGpipe, 4, 1, 8);
  swap_actions(schedules[2], "2B3", "2B4");
  EXPECT_THAT(check_error(schedules, 4, 8),
              HasSubstr("rank 2 runs 2B3 after microbatch 4: a stage must accumulate in"));

  schedules = make_schedules(kZeroBubble, 4, 1, 8);
  swap_actions(schedules[3], "3W6", "3W7");
  EXPECT_THAT(check_error(schedules, 4, 8), HasSubstr("rank 3 runs 3W6 after microbatch 7"));

  schedules = make_schedules(k1F1B, 4, 1, 8);
  swap_actions(schedules[0], "0F4", "0B1");
  EXPECT_NO_THROW(check_schedules(schedules, 4, 8));  // late, but right

  schedules = make_schedules(kZeroBubble, 4, 1, 8);
  swap_actions(schedules[0], "0I7", "0W7");
  EXPECT_THAT(check_error(schedules, 4, 8), HasSubstr("stage 0 runs 'FWI' on microbatch 7"));
}

}  // namespace
}  // namespace trine
