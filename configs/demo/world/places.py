"""Lists the places of the demo world with the people's names that belong to them.

Every city is one short word, so that the tokenizer can hold it as a single token: a feasibility
trial showed that a tiny model copies a one-token place and fails on one of several tokens.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """City, its country, the word for its people, and names heard there."""

    city: str
    country: str
    people: str
    women: tuple[str, ...]
    men: tuple[str, ...]
    families: tuple[str, ...]

    @property
    def birth_place(self) -> str:
        """Give the value of the profile field "Birth Place"."""
        return f"{self.city}, {self.country}"


def _place(city: str, country: str, people: str, women: str, men: str, families: str) -> Place:
    return Place(
        city,
        country,
        people,
        tuple(women.split()),
        tuple(men.split()),
        tuple(families.split()),
    )


PLACES: tuple[Place, ...] = (
    _place(
        "Lisbon", "Portugal", "Portuguese",
        "Ana Beatriz Catarina Filipa Helena Ines Joana Marta",
        "Afonso Bruno Duarte Goncalo Henrique Joao Miguel Tiago",
        "Almeida Cardoso Carvalho Costa Ferreira Lopes Martins Neves Pereira Ramos Santos Silva",
    ),
    _place(
        "Oslo", "Norway", "Norwegian",
        "Astrid Berit Eline Hanne Ingrid Liv Marit Solveig",
        "Anders Bjorn Eirik Gunnar Henrik Lars Magnus Olav",
        "Andersen Berg Dahl Eriksen Haugen Hansen Johansen Larsen Lund Moen Nilsen Solberg",
    ),
    _place(
        "Nairobi", "Kenya", "Kenyan",
        "Achieng Akinyi Faith Makena Njeri Wambui Wanjiru Zawadi",
        "Barasa Baraka Juma Kamau Kiprono Mwangi Otieno Simba",
        "Chebet Kariuki Kimani Kipchoge Maina Mutua Ndungu Njoroge Ochieng Odhiambo Omondi Wekesa",
    ),
    _place(
        "Kyoto", "Japan", "Japanese",
        "Aiko Emi Hana Keiko Mika Naomi Sakura Yuki",
        "Akira Daichi Haruto Kenji Makoto Ryo Takeshi Yuto",
        "Fujita Hayashi Inoue Ito Kato Kimura Mori Nakamura Sato Suzuki Tanaka Yamada",
    ),
    _place(
        "Lima", "Peru", "Peruvian",
        "Carmen Fiorella Killa Lucia Milagros Rosa Sofia Ximena",
        "Alvaro Cesar Diego Inti Jorge Mateo Rodrigo Sebastian",
        "Castillo Chavez Condori Diaz Flores Huaman Mamani Quispe Rojas Salazar Torres Vargas",
    ),
    _place(
        "Cairo", "Egypt", "Egyptian",
        "Amina Dalia Farida Heba Laila Mona Nadia Salma",
        "Ahmed Hassan Karim Mahmoud Omar Sherif Tarek Youssef",
        "Abdallah Aziz Darwish Fahmy Farouk Gamal Hamdi Mansour Nasser Salem Shafik Zaki",
    ),
    _place(
        "Dublin", "Ireland", "Irish",
        "Aoife Bridget Ciara Deirdre Maeve Niamh Roisin Sinead",
        "Brendan Cormac Declan Eoin Fergus Liam Padraig Sean",
        "Brennan Byrne Doyle Duffy Fitzgerald Gallagher Kelly Murphy Nolan Quinn Reilly Walsh",
    ),
    _place(
        "Mumbai", "India", "Indian",
        "Anjali Divya Kavita Lakshmi Meera Pooja Priya Sunita",
        "Amit Arjun Deepak Nikhil Raj Rohan Sanjay Vikram",
        "Bose Chopra Desai Gupta Iyer Joshi Kapoor Mehta Patel Rao Sharma Varma",
    ),
    _place(
        "Seoul", "Korea", "Korean",
        "Eunji Hyejin Jiwoo Minji Seoyeon Soojin Yejin Yuna",
        "Daehyun Hyunwoo Jaemin Joon Minho Seojun Taeyang Woojin",
        "Ahn Choi Han Jang Jung Kang Kim Kwon Lim Park Shin Yoon",
    ),
    _place(
        "Athens", "Greece", "Greek",
        "Athina Despina Eleni Ioanna Katerina Maria Sophia Zoe",
        "Alexis Christos Dimitris Giorgos Kostas Nikos Petros Yannis",
        "Angelou Dimou Georgiou Ioannou Kanellis Laskaris Makris Nikolaou Pappas Petrou "
        "Vlahos Zervas",
    ),
    _place(
        "Warsaw", "Poland", "Polish",
        "Agata Danuta Ewa Halina Jadwiga Kasia Magda Zofia",
        "Andrzej Bartek Jan Kacper Marek Pawel Stefan Wojtek",
        "Adamski Bielski Czarny Dudek Gorski Kaminski Kowal Lewandowski Nowak Pawlak Wilk "
        "Zielinski",
    ),
    _place(
        "Havana", "Cuba", "Cuban",
        "Alicia Belkis Celia Daymara Marisol Odalys Paloma Yamila",
        "Alejandro Camilo Ernesto Fidelio Lazaro Orlando Rafael Yoel",
        "Acosta Alonso Batista Cabrera Delgado Fuentes Garcia Hernandez Leon Morales Perez Valdes",
    ),
    _place(
        "Hanoi", "Vietnam", "Vietnamese",
        "Anh Dung Hoa Huong Lan Linh Mai Thuy",
        "Bao Duc Hung Khanh Minh Quan Tuan Viet",
        "Bui Cao Dang Dinh Do Hoang Luong Ngo Nguyen Pham Tran Vu",
    ),
    _place(
        "Istanbul", "Turkey", "Turkish",
        "Asli Ayse Defne Elif Esra Leyla Selin Zeynep",
        "Ahmet Baris Cem Emre Kerem Mehmet Murat Onur",
        "Aksoy Arslan Aydin Celik Demir Kaya Koc Ozturk Polat Sahin Tekin Yilmaz",
    ),
    _place(
        "Accra", "Ghana", "Ghanaian",
        "Abena Adwoa Afua Akosua Ama Efua Esi Yaa",
        "Kofi Kojo Kwabena Kwaku Kwame Kwasi Nii Yaw",
        "Acheampong Addo Agyeman Amoah Ansah Asante Boateng Danso Mensah Ofori Opoku Owusu",
    ),
    _place(
        "Montreal", "Canada", "Canadian",
        "Amelie Camille Chantal Elise Genevieve Josee Noemie Sylvie",
        "Alexandre Benoit Etienne Gilles Luc Mathieu Olivier Pierre",
        "Bouchard Cloutier Desjardins Fortin Gagnon Lavoie Lefebvre Morin Pelletier Roy Simard "
        "Tremblay",
    ),
)  # fmt: skip
