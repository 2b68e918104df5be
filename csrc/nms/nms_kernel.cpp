// Compiled once per instruction set.
#include "nms/nms_kernel.h"

#include "common/isa.h"
#include "nms/grid.h"

namespace pyvqa {
namespace {

constexpr int64_t kManyLeft = 2048;  // boxes that pay for a grid
constexpr int64_t kLookAhead = 12;   // boxes fetched before their turn

// One group of boxes, decided one after the other.
template <class T, bool kInclusive>
class Sieve {
 public:
  Sieve(const NmsJob& job, int64_t begin, int64_t end)
      : job_(job),
        boxes_(static_cast<const T*>(job.boxes)),
        rule_(*static_cast<const Rule<T>*>(job.rule)),
        slots_(static_cast<T*>(job.scratch) + begin * kNmsNumbersPerBox),
        begin_(begin),
        end_(end) {}

  void run() {
    const Rows<T> kept{slots_, end_ - begin_};
    const bool spares = spares_inert(rule_), grid = grid_suits(rule_);
    int64_t count = 0, comparisons = 0;
    for (int64_t place = begin_; place < end_; ++place) {
      if (count == job_.grid_from && grid && end_ - place >= kManyLeft)
        return run_by_grid(place, kept, count, comparisons);
      const Box<T> box = box_at(place);
      bool stays = true;
      if (!spares || !is_inert(box, rule_.plus)) {
        comparisons += count;
        stays = !Candidate<T, kInclusive>(box, rule_).is_suppressed(kept, count);
        if (stays) kept.set(count++, box);
      }
      decide(place, stays);
    }
    if (job_.comparisons) *job_.comparisons += comparisons;
  }

 private:
  const NmsJob& job_;
  const T* boxes_;
  const Rule<T>& rule_;
  T* slots_;
  int64_t begin_, end_;

  int64_t rank_at(int64_t place) const { return job_.ranks ? job_.ranks[place] : place; }
  const T* numbers_at(int64_t place) const {
    return boxes_ + int64_t{4} * job_.order[rank_at(place)];
  }

  Box<T> box_at(int64_t place) const {
    if (place + kLookAhead < end_) __builtin_prefetch(numbers_at(place + kLookAhead));
    return read_box(numbers_at(place), kInclusive ? T(1) : T(0));
  }

  void decide(int64_t place, bool stays) const {
    job_.stays[rank_at(place)] = static_cast<uint8_t>(stays);
  }

  // The boxes from `first` on; the slots that hold the ones kept so far become the grid's.
  void run_by_grid(int64_t first, const Rows<T>& kept, int64_t count, int64_t comparisons) {
    Box<T> early[kNmsMostEarly];
    for (int64_t k = 0; k < count; ++k) early[k] = kept.get(k);
    const int64_t places = end_ - begin_;
    Grid<T, kInclusive> grid(rule_, places, slots_, reinterpret_cast<Bucket*>(slots_ + 5 * places));
    Spot spot;
    for (int64_t k = 0; k < count; ++k)
      if (grid.locate(early[k], spot)) grid.announce(spot);
    for (int64_t place = first; place < end_; ++place)
      if (grid.locate(box_at(place), spot)) grid.announce(spot);
    grid.make_room();
    for (int64_t k = 0; k < count; ++k) keep(grid, early[k], grid.locate(early[k], spot), spot);
    for (int64_t place = first; place < end_; ++place) {
      const Box<T> box = box_at(place);
      if (is_inert(box, rule_.plus)) {
        decide(place, true);
        continue;
      }
      const bool located = grid.locate(box, spot);
      const Candidate<T, kInclusive> candidate(box, rule_);
      const bool stays = !(located ? grid.suppresses(candidate, spot) : grid.suppresses(candidate));
      if (stays) keep(grid, box, located, spot);
      decide(place, stays);
    }
    if (job_.comparisons) *job_.comparisons += comparisons + grid.comparisons();
  }

  static void keep(Grid<T, kInclusive>& grid, const Box<T>& box, bool located, const Spot& spot) {
    if (located) grid.add(spot, box);
    else grid.add(box);
  }
};

template <class T>
void groups_of(const NmsJob& job, int64_t begin, int64_t end) {
  const bool inclusive = static_cast<const Rule<T>*>(job.rule)->plus != T(0);
  for (int64_t group = begin; group < end; ++group) {
    const int64_t first = group == 0 ? 0 : job.group_end[group - 1], last = job.group_end[group];
    if (inclusive) Sieve<T, true>(job, first, last).run();
    else Sieve<T, false>(job, first, last).run();
  }
}

}  // namespace

void PV_ISA_NAME(nms_groups)(const NmsJob& job, int64_t begin, int64_t end) {
  if (job.wide) groups_of<double>(job, begin, end);
  else groups_of<float>(job, begin, end);
}

}  // namespace pyvqa
