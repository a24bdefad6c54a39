"""What happens in the shop all day: it sells, customers come, move and go, prices change."""

from __future__ import annotations

from starberg.samples.operational import people, retail, vocabulary
from starberg.samples.operational.life import Kind
from starberg.samples.operational.system import System
from starberg.samples.operational.work import KEEP, REMOVE, Row, Work

_NEVER_BOUGHT = "NOT EXISTS (SELECT FROM sales s WHERE s.customer_id = t.customer_id)"
_NOT_RETURNED = (
    "t.quantity > 0 AND NOT EXISTS (SELECT FROM sales r WHERE r.customer_id = t.customer_id "
    "AND r.product_id = t.product_id AND r.quantity = -t.quantity AND r.transaction_date >= t.transaction_date)"
)


def _sale(work: Work) -> bool:
    """Sell one receipt: its lines have one time."""
    customer, at = work.pick("customers", KEEP), work.now()
    if customer is None:
        return False
    sold = 0
    for _ in range(retail.lines(work.rng)):
        if product := work.pick("products", KEEP, where="is_active"):
            taken = retail.quantity(str(customer["segment"]).strip().lower(), work.rng)
            _sell(work, customer["customer_id"], product, taken, at)
            sold += 1
    return sold > 0


def _sell(work: Work, customer: int, product: Row, taken: int, at: object) -> None:
    price, discount, amount = retail.line(round(product["unit_price"] * 100), taken, work.rng)
    work.insert(
        "sales",
        customer_id=customer,
        product_id=product["product_id"],
        transaction_date=at,
        quantity=taken,
        unit_price=price,
        discount=discount,
        amount=amount,
    )


def _return(work: Work) -> bool:
    sale = work.pick("sales", KEEP, where=_NOT_RETURNED, newest=3000)
    if sale is None:
        return False
    kept = {name: sale[name] for name in ("customer_id", "product_id", "unit_price")}
    turned = {name: -sale[name] for name in ("quantity", "discount", "amount")}
    work.insert("sales", **kept, **turned, transaction_date=work.now())
    return True


def _cancel(work: Work) -> bool:
    sale = work.pick("sales", REMOVE, where=_NOT_RETURNED, newest=500)
    if sale is None:
        return False
    work.remove("sales", sale)
    return True


def _join(work: Work) -> bool:
    key = work.next_key("customers")
    _insert_customer(work, key, retail.person(key, work.rng))
    return True


def _insert_customer(work: Work, key: int, typed: Row) -> None:
    at = work.now()
    work.insert("customers", **{**typed, "customer_id": key, "created_at": at, "updated_at": at})


def _move(work: Work) -> bool:
    customer = work.pick("customers")
    if customer is None:
        return False
    work.change("customers", customer, **retail.new_address(work.rng))
    return True


def _correct(work: Work) -> bool:
    """Change one customer several times in one transaction: they move, and what was typed wrong is put right."""
    customer = work.pick("customers")
    if customer is None:
        return False
    work.change("customers", customer, **retail.new_address(work.rng))
    for _ in range(work.rng.randint(1, 3)):
        address = retail.new_address(work.rng)
        work.change("customers", customer, street=address["street"], postal_code=address["postal_code"])
    return True


def _reach(work: Work) -> bool:
    """Change how a customer is reached."""
    customer = work.pick("customers")
    if customer is None:
        return False
    if work.rng.random() < 0.5:
        work.change("customers", customer, phone=people.phone(people.country(work.rng), work.rng))
    else:
        mail = people.email(customer["first_name"], customer["last_name"], work.rng.randrange(10**6), work.rng)
        work.change("customers", customer, email=mail)
    return True


def _grow(work: Work) -> bool:
    """Put a customer into another segment."""
    customer = work.pick("customers")
    if customer is None:
        return False
    other = [segment for segment in vocabulary.SEGMENTS if segment != str(customer["segment"]).strip().lower()]
    work.change("customers", customer, segment=people.untidy(work.rng.choice(other), work.rng))
    return True


def _reprice(work: Work) -> bool:
    """Change the price of one product, or of several at once."""
    changed: set[int] = set()
    for _ in range(work.rng.choice((1, 1, 1, 2, 5))):
        product = work.pick("products", where="is_active")
        if product is not None and product["product_id"] not in changed:
            changed.add(product["product_id"])
            cents = retail.new_price(round(product["unit_price"] * 100), work.rng)
            work.change("products", product, unit_price=retail.money(cents))
    return bool(changed)


def _list(work: Work) -> bool:
    """Take a new product into the range."""
    group = work.rng.choice(vocabulary.GROUPS)
    cents = retail.tidy_price(group.price * 100 * work.rng.lognormvariate(0, 0.45))
    at = work.now()
    work.insert(
        "products",
        product_name=f"{work.rng.choice(group.kinds)} {work.rng.choice(group.goods)} II",
        product_group=people.untidy(group.name, work.rng),
        unit_price=retail.money(cents),
        is_active=True,
        created_at=at,
        updated_at=at,
    )
    return True


def _withdraw(work: Work) -> bool:
    """Take a product off the range, or back into it."""
    product = work.pick("products")
    if product is None:
        return False
    work.change("products", product, is_active=not product["is_active"])
    return True


def _forget(work: Work) -> bool:
    """Delete a customer who asks for it; a customer who bought is in the books and stays."""
    customer = work.pick("customers", REMOVE, where=_NEVER_BOUGHT)
    if customer is None:
        return False
    work.remove("customers", customer)
    work.memory.forgotten.append(customer)
    return True


def _come_back(work: Work) -> bool:
    """Add a customer again, by the number they had before they asked to be forgotten."""
    if not work.memory.forgotten:
        return False
    customer = work.memory.forgotten.pop(0)
    _insert_customer(work, customer["customer_id"], customer | retail.new_address(work.rng))
    return True


def _replace(work: Work) -> bool:
    """Delete a customer and add them anew in one transaction, as an import does."""
    customer = work.pick("customers", REMOVE, where=_NEVER_BOUGHT)
    if customer is None:
        return False
    work.remove("customers", customer)
    _insert_customer(work, customer["customer_id"], customer | retail.new_address(work.rng))
    return True


_SHOP = "operations"
RETAIL = System(
    databases={_SHOP: "retail.sql"},
    people=2000,
    days=90,
    rows=retail.tables,
    kinds=(
        Kind("sale", _SHOP, 42, _sale, may_stay_open=True),
        Kind("return", _SHOP, 5, _return, may_stay_open=True),
        Kind("sale cancelled", _SHOP, 5, _cancel),
        Kind("customer joins", _SHOP, 9, _join, may_stay_open=True),
        Kind("customer moves", _SHOP, 12, _move, may_stay_open=True),
        Kind("customer corrected", _SHOP, 4, _correct),
        Kind("contact changed", _SHOP, 6, _reach, may_stay_open=True),
        Kind("segment changed", _SHOP, 3, _grow),
        Kind("price changed", _SHOP, 5, _reprice, may_stay_open=True),
        Kind("product listed", _SHOP, 2, _list),
        Kind("product withdrawn or back", _SHOP, 1, _withdraw),
        Kind("customer forgotten", _SHOP, 3, _forget),
        Kind("customer back", _SHOP, 2, _come_back),
        Kind("customer replaced", _SHOP, 1, _replace),
    ),
)
