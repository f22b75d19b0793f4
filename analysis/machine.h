// A cluster's profile as closed forms see it: rates of the data sheet, memory, prices, and how long messages and
// all-reduces take that are alone on its links.
#pragma once

#include <string>
#include <string_view>

#include "analysis/money.h"
#include "cluster/profile.h"

namespace trine {

// One kind of device. Products are dense, in 16 bits with sums in 32.
struct Card {
  double flops_per_s = 0;
  double memory_bytes = 0;
  double bytes_per_s = 0;       // of its memory
  double link_bytes_per_s = 0;  // to its neighbours in a host, one direction: NVLink where there is, else PCIe
  double price_usd = 0;
  double power_w = 0;
};

class Machine {
 public:
  Machine() = default;
  explicit Machine(Profile profile);

  const std::string& name() const { return profile_.name; }
  const std::string& about() const { return profile_.about; }
  int devices_per_host() const { return static_cast<int>(profile_.host.devices); }
  int hosts(int devices) const { return (devices + devices_per_host() - 1) / devices_per_host(); }
  double usable_bytes() const { return profile_.device.plannable_bytes(); }
  double network_latency_s() const { return profile_.network.latency_us * 1e-6; }
  double network_gbit() const { return profile_.network.nics * profile_.network.nic_gb_per_s * 8; }  // of a host
  // The same hosts with one NIC of so many Gb/s.
  Machine with_network(double gbit) const;
  HostCost host_cost() const;  // of a full one
  // Of so many devices with their share of the hosts: new, in power, and both by the hour.
  double purchase_usd(double devices) const { return host_cost().usd() * host_cost().hosts_of(devices); }
  double watts(double devices) const { return host_cost().watts() * host_cost().hosts_of(devices); }
  double usd_per_hour(double devices) const { return host_cost().usd_per_hour() * host_cost().hosts_of(devices); }

  // `bytes` on each of n devices that fill hosts one after another.
  double all_reduce_s(int n, double bytes) const;
  // From one rank's device to another's.
  double message_s(double bytes, int from, int to) const;
  // Bytes per second that a ring over a host's devices keeps up on each link, at 128 MiB.
  double bus_bytes_per_s() const;

  Card card;

 private:
  Profile profile_;
};

}  // namespace trine
