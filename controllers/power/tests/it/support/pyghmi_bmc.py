"""A BMC that shares no code with Bloomery: pyghmi's, as it is (cipher suite 3) or with SHA-256 in place of SHA-1 (17).

Usage: pyghmi_bmc.py PORT 3|17 [GUID [slow|refuses]]. With `slow` the boot flags lose their valid bit (IPMI 2.0, table
28-14) before the firmware looks at them, unless parameter 3 says not to; with `refuses` there is no parameter 3, and
the firmware is quick. Its user is `admin`, password `secret`; it prints what its chassis is told.
"""

import hashlib
import struct
import sys
import threading
import types
import uuid

import pyghmi.ipmi.bmc as bmc
import pyghmi.ipmi.private.serversession as serversession
import pyghmi.ipmi.private.session as wire

# RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128 (IPMI 2.0, tables 13-17 to 13-19).
ALGORITHMS = bytes([0, 0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 8, 4, 0, 0, 0, 2, 0, 0, 8, 1, 0, 0, 0])
SUITE_17 = bytes([0xC0, 17, 0x03, 0x44, 0x81])


class Session17(serversession.ServerSession):
    """A session of cipher suite 17, which pyghmi's client knows and its server does not."""

    def create_open_session_response(self, request):
        self.currhashlen = 16
        return super().create_open_session_response(request)[: -len(ALGORITHMS)] + ALGORITHMS

    def _send_rakp4(self, tagvalue, statuscode):
        # The code has 16 bytes; pyghmi's server cuts it to the 12 of suite 3.
        data = bytes(self.Rm + self.managedsessionid + self.uuiddata)
        code = serversession.hmac.new(self.sik, data, hashlib.sha256).digest()[:16]
        send = self.send_payload
        self.send_payload = lambda payload, *args, **named: send(payload[:-12] + code, *args, **named)
        super()._send_rakp4(tagvalue, statuscode)
        self.send_payload = send


class Bmc(bmc.Bmc):
    """A machine that is off."""

    power = 0

    def get_system_guid(self):
        if len(sys.argv) < 4:
            raise NotImplementedError
        return uuid.UUID(sys.argv[3])

    def get_power_state(self):
        return self.power

    def power_on(self):
        self.power = 1
        print("on", flush=True)

    def power_off(self):
        self.power = 0
        print("off", flush=True)

    def power_cycle(self):
        print("cycle", flush=True)

    def set_boot_device(self, bootdevice):
        print("boot", bootdevice, flush=True)


class Firmware(Bmc):
    """A machine that looks at its boot flags when its self-test is over."""

    quick = sys.argv[4:] == ["refuses"]
    valid = keep = False

    def set_system_boot_options(self, request, session):
        parameter, *data = request["data"]
        if parameter == 3:
            if self.quick:
                return session.send_ipmi_response(code=0x80)
            self.keep = bool(data[0] & 8)
        if parameter == 5:
            self.valid = bool(data[0] & 0x80)
        super().set_system_boot_options(request, session)

    def power_on(self):
        super().power_on()
        threading.Timer(0.3, self.expire).start()
        threading.Timer(0.1 if self.quick else 0.9, self.boot).start()

    def expire(self):
        if not self.keep:
            self.valid = False

    def boot(self):
        print("boots", "network" if self.valid else "disk", flush=True)


class Bmc17(Bmc):
    """The same with cipher suite 17."""

    def send_cipher_suites(self, myaddr, mylun, clientaddr, clientlun, clientseq, data, sockaddr):
        head = [clientaddr, clientlun | 7 << 2]
        body = [myaddr, mylun | clientseq << 2, 0x54, 0, 1, *SUITE_17]
        message = bytes([*head, wire._checksum(*head), *body, wire._checksum(*body)])
        packet = b"\x06\x00\xff\x07\x06" + bytes(9) + struct.pack("<H", len(message)) + message
        wire._io_sendto(self.serversocket, packet, sockaddr)


if sys.argv[2] == "17":
    # The server names SHA-1 wherever it makes a code or a key; pyghmi's client takes the same steps with both hashes.
    serversession.hashlib = types.SimpleNamespace(sha1=hashlib.sha256)
    serversession.ServerSession = Session17
    Bmc = Bmc17
if len(sys.argv) > 4:
    Bmc = Firmware
Bmc({"admin": "secret"}, port=int(sys.argv[1]), address="127.0.0.1").listen()
