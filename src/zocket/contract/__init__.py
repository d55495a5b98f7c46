"""The contract of an app, for those who have not its code: as a document, as code of other languages, compared.

Rules: everything but `contract_of` works on the `Contract` alone, so a contract may come from a file, from another
process, or from a server in another language; nothing here does I/O.
"""

from zocket.contract.document import contract_of
from zocket.contract.form import Contract, NoContract, decode_contract

__all__ = ["Contract", "NoContract", "contract_of", "decode_contract"]
