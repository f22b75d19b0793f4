#include "runtime/job/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mutex>
#include <new>

#include "comm/local/local_ranks.h"
#include "comm/world.h"

namespace trine {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// What each of `num_ranks` ranks throws in body(its communicator): "code message"; empty: nothing. Each must be an
// AgreedError, and the ranks can still talk.
template <typename F>
std::vector<std::string> thrown_by(int num_ranks, F body) {
  std::vector<std::string> texts(static_cast<size_t>(num_ranks));
  run_local_ranks(num_ranks, [&](Fabric& fabric) {
    const auto all = connect_all(fabric, 60s);
    try {
      body(*all);
    } catch (const AgreedError& error) {
      texts[static_cast<size_t>(fabric.rank())] =
          fmt::format("{} {}", static_cast<int>(error.code()), error.what());
    }
    all->barrier();
  });
  return texts;
}

TEST(RunAgreed, TheLowestRankThatFailedSpeaksForAll) {
  const auto texts = thrown_by(4, [](Communicator& all) {
    run_agreed(&all, [&] {
      if (all.rank() == 1 || all.rank() == 3) throw DataError(fmt::format("file of rank {}", all.rank()));
    });
  });
  for (const std::string& text : texts)
    EXPECT_THAT(text, AllOf(HasSubstr("3 file of rank 1"), HasSubstr("(Only ranks 1 and 3 of 4 found this;")));
}

TEST(RunAgreed, WhatAllFindIsSaidPlainly) {
  for (const std::string& text :
       thrown_by(3, [](Communicator& all) { run_agreed(&all, [] { throw ConfigError("[mesh] no"); }); }))
    EXPECT_EQ(text, "2 [mesh] no");
}

TEST(RunAgreed, ARankWithoutMemoryEndsAll) {
  for (const std::string& text : thrown_by(2, [](Communicator& all) {
         run_agreed(&all, [&] {
           if (all.rank() == 1) throw std::bad_alloc();
         });
       }))
    EXPECT_THAT(text, AllOf(HasSubstr("4 [memory]"), HasSubstr("(Only rank 1 of 2")));
}

TEST(RunAgreed, TheFirstAloneNeedsNoOtherToAgree) {
  for (const std::string& text : thrown_by(3, [](Communicator& all) {
         run_on_first(&all, [&] { throw DataError(fmt::format("rank {}", all.rank())); });
       }))
    EXPECT_EQ(text, "3 rank 0");
}

// Ranks that fail alone would leave the others in it: with a mesh's groups as with the group that agrees, and in
// what a body calls.
TEST(RunAgreed, TalkingWithinIsAnErrorOfOurs) {
  run_local_ranks(2, [](Fabric& fabric) {
    CommWorld world(fabric, {.dp = 2}, 60s);
    Communicator &all = world[Group::kWorld], &dp = world[Group::kDp];
    int value = 0;
    const std::vector<std::function<void()>> calls = {
        [&] { all.barrier(); },
        [&] { gather_all(&dp, 1); },
        [&] { dp.all_reduce(&value, 1, DType::kI32); },
        [&] { all.broadcast(&value, 1, DType::kI32, 0); },
        [&] { auto request = dp.isend(&value, 1, DType::kI32, 1 - dp.rank(), 0); },
        [&] { auto request = dp.irecv(&value, 1, DType::kI32, 1 - dp.rank(), 0); },
        [&] { run_agreed(&all, [] {}); },
        [&] { check_same_on_all(&all, {}); },
    };
    for (const auto& call : calls) EXPECT_THROW(run_agreed(&all, call), CheckError);
    all.barrier();  // afterwards they may talk
  });
}

TEST(CheckSameOnAll, NamesWhatDiffersItsValuesAndTheirRanks) {
  const auto texts = thrown_by(5, [](Communicator& all) {
    const std::string lr = all.rank() == 2 ? "0.002" : "0.001";
    Facts facts = {{"--steps", "10"}, {"--lr", lr}};
    if (all.rank() != 4) facts.emplace_back("--keep", "3");
    check_same_on_all(&all, facts);
  });
  for (const std::string& text : texts)
    EXPECT_THAT(text, AllOf(HasSubstr("2 [ranks] --lr is 0.001 on ranks 0, 1, 3 and 4, 0.002 on rank 2.\n"),
                            HasSubstr("[ranks] --keep is 3 on ranks 0, 1, 2 and 3, nothing on rank 4.\n"),
                            Not(HasSubstr("--steps"))));
}

TEST(CheckSameOnAll, IsSilentWhereAllIsTheSame) {
  for (const std::string& text : thrown_by(3, [](Communicator& all) {
         check_same_on_all(&all, {{"--lr", "1"}, {"bytes", "\xff\xfe"}});
       }))
    EXPECT_EQ(text, "");
}

TEST(ToldByFirst, AllHaveItsText) {
  run_local_ranks(3, [](Fabric& fabric) {
    const auto all = connect_all(fabric, 60s);
    const std::string long_text(100'000, 'x');
    for (const std::string& text : {std::string(), std::string("a\0b", 3), long_text})
      EXPECT_EQ(told_by_first(&*all, fabric.rank() == 0 ? text : "of another"), text);
  });
}

}  // namespace
}  // namespace trine
