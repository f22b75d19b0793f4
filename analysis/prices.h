// What a change of a cluster costs to buy, with where its price comes from, and what it makes of the cost of a token.
// Prices are those of profiles (each with its source), and of NICs as the article lists them.
#pragma once

#include <optional>
#include <string>

#include "cluster/profile.h"

namespace trine {

struct Price {
  std::optional<double>
      usd;             // more than what the run's hosts cost, all new; none: nobody sells it, or no price is known
  std::string source;  // where it comes from, with its year; or why there is none
};

inline Price free_of_charge(std::string why) { return {0.0, std::move(why)}; }
inline Price not_for_sale(std::string why) { return {std::nullopt, std::move(why)}; }

// Of `nics` of so many GB/s in each host of the run, each with its port of a switch; further tiers of switches are not
// counted. None above 200 Gb/s.
Price price_of_nics(const Profile& profile, int devices, double nics, double gb_per_s);

// Of a NIC of so many Gb/s with its port of a switch, where its price is known: 1 Gb/s comes with the board.
std::optional<double> nic_usd(double gbit);
// Whether NICs of so many GB/s have no price but that of others which are more than twice as fast.
bool only_much_faster_nics(double gb_per_s);

// Of as many devices of another cluster, with their hosts, less what the present ones cost.
Price price_of_cluster(const Profile& now, const Profile& other, int devices);

// What a token costs after a change, against now: -0.04 is 4 % less. Hosts and the change are written off over three years,
// power is paid (analysis/money.h). `then` is the cluster whose power is drawn then. None where the price of the change or
// of the cluster is unknown; a change that costs nothing saves as much money as time.
std::optional<double> token_cost_change(const Profile& now, const Profile& then, int devices, const Price& price,
                                        double step_s_now, double step_s_then);

}  // namespace trine
