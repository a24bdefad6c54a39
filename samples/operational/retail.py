"""The shop's past: customers who joined, products whose prices changed, sales that follow weekdays and seasons."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any

from starberg.samples.operational import people, vocabulary
from starberg.samples.operational.system import Size
from starberg.samples.operational.tables import Table
from starberg.samples.operational.vocabulary import GROUPS, Group

SALES_PER_CUSTOMER_AND_DAY = 0.22
NEVER_BOUGHT = 0.03
RETURNED = 0.025
_DAY = timedelta(days=1)
_LINES = ((1, 2, 3, 4), (60, 25, 10, 5))
_QUANTITIES = ((1, 2, 3, 4, 6, 10), (58, 22, 9, 6, 4, 1))
_DISCOUNTS = ((0, 5, 10, 15, 20), (82, 7, 6, 3, 2))

CUSTOMER = [
    *("customer_id", "first_name", "last_name", "email", "phone", "street", "city", "postal_code", "country"),
    *("segment", "created_at", "updated_at"),
]
PRODUCT = ["product_id", "product_name", "product_group", "unit_price", "is_active", "created_at", "updated_at"]
SALE = ["sale_id", "customer_id", "product_id", "transaction_date", "quantity", "unit_price", "discount", "amount"]


@dataclass(slots=True)
class Customer:
    """A customer and how often they buy."""

    id: int
    segment: str
    created_at: datetime
    weight: float


@dataclass(slots=True)
class Product:
    """A product; prices in cents, each from its time on. `weight` is how well it sells."""

    id: int
    name: str
    group: Group
    created_at: datetime
    weight: float
    prices: list[tuple[datetime, int]] = field(default_factory=list)
    withdrawn_at: datetime | None = None

    def cents(self, at: datetime) -> int:
        """Return the price at a time."""
        return self.prices[bisect_right(self.prices, at, key=lambda change: change[0]) - 1][1]


def tables(size: Size) -> Mapping[str, Sequence[Table]]:
    """Return the shop's tables; sales come one by one, in the order of their times."""
    products = _products(size)
    customers, rows = _customers(size)
    return {
        "operations": [
            Table("customers", CUSTOMER, rows),
            Table("products", PRODUCT, [_product_row(product, size.seed) for product in products]),
            Table("sales", SALE, _sales(size, customers, products)),
        ]
    }


def money(cents: int) -> Decimal:
    """Return an amount with its two digits.

    >>> money(-1250)
    Decimal('-12.50')
    """
    return Decimal(cents).scaleb(-2)


def person(number: int, rng: random.Random) -> dict[str, Any]:
    """Return what a customer types on joining, by column."""
    first, last = people.name(rng)
    home = people.country(rng)
    segment = rng.choices(list(vocabulary.SEGMENTS), list(vocabulary.SEGMENTS.values()))[0]
    return {
        "first_name": first,
        "last_name": last,
        "email": people.email(first, last, number, rng),
        "phone": people.phone(home, rng),
        **_columns(people.address(home, rng)),
        "segment": people.untidy(segment, rng),
    }


def new_address(rng: random.Random) -> dict[str, str]:
    """Return where somebody moves, by column."""
    return _columns(people.address(people.country(rng), rng))


def line(cents: int, quantity: int, rng: random.Random) -> tuple[Decimal, Decimal, Decimal]:
    """Return unit price, discount and amount of one line of a receipt."""
    discount = cents * quantity * rng.choices(*_DISCOUNTS)[0] // 100
    return money(cents), money(discount), money(cents * quantity - discount)


def lines(rng: random.Random) -> int:
    """Return how many products one receipt has."""
    return rng.choices(*_LINES)[0]


def quantity(segment: str, rng: random.Random) -> int:
    """Return how many of a product somebody takes."""
    return rng.choices(*_QUANTITIES)[0] * (rng.randint(2, 8) if segment == "corporate" else 1)


def _columns(address: people.Address) -> dict[str, str]:
    return {name: getattr(address, name) for name in ("street", "city", "postal_code", "country")}


def _customers(size: Size) -> tuple[list[Customer], list[list[Any]]]:
    """Return the customers in the order they joined, and their rows."""
    rng = people.stream(size.seed, "customers")
    first_day = size.until - timedelta(days=size.days)
    new_share = min(0.5, size.days / 900)

    def joined() -> datetime:
        if rng.random() < new_share:
            return first_day + (size.until - first_day) * rng.random()
        return first_day - timedelta(days=1100) * math.pow(rng.random(), 1.5)

    customers, rows = [], []
    for id, at in enumerate(sorted(_seconds(joined()) for _ in range(size.people)), 1):  # noqa: A001
        typed = person(id, rng)
        segment = typed["segment"].strip().lower()
        personal = min(rng.paretovariate(2.2), 6) if rng.random() >= NEVER_BOUGHT else 0.0
        customers.append(Customer(id, segment, at, personal * vocabulary.BASKETS[segment]))
        changed = _seconds(at + (size.until - at) * rng.random()) if rng.random() < 0.25 else at
        rows.append([id, *typed.values(), at, changed])
    return customers, rows


def _products(size: Size) -> list[Product]:
    rng = people.stream(size.seed, "products")
    every = [(group, f"{kind} {good}") for group in GROUPS for good in group.goods for kind in group.kinds]
    rng.shuffle(every)
    first_day = size.until - timedelta(days=size.days)
    chosen = every[: max(24, size.people // 20)]
    products = []
    for id, (group, name) in enumerate(chosen, 1):  # noqa: A001
        # The last ones come while the shop is running.
        age = timedelta(days=rng.uniform(30, 900))
        born = first_day + age % (size.until - first_day) if id > len(chosen) * 0.95 else first_day - age
        product = Product(id, name, group, _seconds(born), min(rng.paretovariate(1.2), 12))
        product.prices = _prices(product, first_day, size.until, rng)
        if rng.random() < 0.04 and born < first_day:
            product.withdrawn_at = _seconds(first_day + (size.until - first_day) * rng.uniform(0.3, 1))
        products.append(product)
    return products


def _prices(product: Product, first_day: datetime, until: datetime, rng: random.Random) -> list[tuple[datetime, int]]:
    """Return the product's prices: about one change in half a year, early in the morning."""
    cents = tidy_price(product.group.price * 100 * rng.lognormvariate(0, 0.45))
    prices = [(product.created_at, cents)]
    at = max(first_day, product.created_at)
    while (at := at + timedelta(days=rng.expovariate(1 / 180) + 1)) < until:
        cents = new_price(cents, rng)
        morning = at.replace(hour=5, minute=rng.randrange(60), second=rng.randrange(60), microsecond=0)
        if morning > prices[-1][0]:
            prices.append((morning, cents))
    return prices


def new_price(cents: int, rng: random.Random) -> int:
    """Return another price than this: more often a higher one."""
    changed = tidy_price(cents * rng.choice((0.85, 0.92, 0.97, 1.03, 1.05, 1.08, 1.12)))
    return changed if changed != cents else cents + 10


def tidy_price(cents: float) -> int:
    """Return a price as shops write it, ending in 9.

    >>> tidy_price(2514)
    2519
    """
    return max(int(cents) // 10 * 10 + 9, 99)


def _product_row(product: Product, seed: int) -> list[Any]:
    rng = people.stream(seed, f"product {product.id}")
    changed = max([at for at, _ in product.prices] + [product.withdrawn_at or product.created_at])
    price, active = money(product.prices[-1][1]), product.withdrawn_at is None
    group = people.untidy(product.group.name, rng)
    return [product.id, product.name, group, price, active, product.created_at, changed]


@dataclass(slots=True)
class _Shelf:
    """What can be bought on one day, and how well it sells then."""

    products: list[Product]
    heights: list[float]

    @classmethod
    def of(cls, products: Sequence[Product], day: datetime) -> _Shelf:
        there = [
            product
            for product in products
            if product.created_at < day
            and (product.withdrawn_at is None or day + timedelta(days=1) < product.withdrawn_at)
        ]
        return cls(there, list(accumulate(p.weight * p.group.seasons[day.month - 1] for p in there)))

    def pick(self, rng: random.Random) -> Product:
        return self.products[_picked(self.heights, len(self.heights), rng)]


def _sales(size: Size, customers: Sequence[Customer], products: Sequence[Product]) -> Iterator[list[Any]]:
    rng = people.stream(size.seed, "sales")
    joined = [customer.created_at for customer in customers]
    heights = list(accumulate(customer.weight for customer in customers))
    returns: dict[datetime, list[list[Any]]] = defaultdict(list)
    id = 0  # noqa: A001
    for number in range(size.days):
        day = size.until - timedelta(days=size.days - number)
        shelf, known = _Shelf.of(products, day), bisect_left(joined, day)
        if not known or not heights[known - 1] or not shelf.products:
            continue
        mean = size.people * SALES_PER_CUSTOMER_AND_DAY * _busy(day) / 1.6
        receipts = [_time(day, rng) for _ in range(max(0, round(rng.gauss(mean, mean**0.5))))]
        sold = [row for at in receipts for row in _receipt(at, customers[_picked(heights, known, rng)], shelf, rng)]
        for row in sorted([*sold, *returns.pop(day, [])], key=lambda row: row[2]):
            id += 1  # noqa: A001
            yield [id, *row]
            if row[3] > 0 and rng.random() < RETURNED:
                later = day + timedelta(days=rng.randint(2, 20))
                returns[later].append(_returned(_time(later, rng), row))


def _busy(day: datetime) -> float:
    """Return how much of a usual day's sales a day has."""
    season = sum(group.seasons[day.month - 1] for group in GROUPS) / len(GROUPS)
    return vocabulary.WEEKDAYS[day.weekday()] * season


def _receipt(at: datetime, customer: Customer, shelf: _Shelf, rng: random.Random) -> Iterator[list[Any]]:
    for _ in range(lines(rng)):
        product, taken = shelf.pick(rng), quantity(customer.segment, rng)
        yield [customer.id, product.id, at, taken, *line(product.cents(at), taken, rng)]


def _returned(at: datetime, sale: Sequence[Any]) -> list[Any]:
    customer, product, _, taken, price, discount, amount = sale
    return [customer, product, at, -taken, price, -discount, -amount]


def _picked(heights: Sequence[float], known: int, rng: random.Random) -> int:
    """Return an index below `known` by its share of the heights, which are sums."""
    return min(bisect_right(heights, rng.random() * heights[known - 1], 0, known), known - 1)


def _time(day: datetime, rng: random.Random) -> datetime:
    hour = rng.choices(range(24), vocabulary.HOURS)[0]
    return day + timedelta(hours=hour, milliseconds=rng.randrange(3_600_000))


def _seconds(at: datetime) -> datetime:
    return at.replace(microsecond=0)
